"""The tables as SQLModel classes, for programs that query the database. A backtest does not import this."""

from __future__ import annotations

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel


class Trial(SQLModel, table=True):
    """One configuration on one data set (`storage.trials`)."""

    __tablename__ = "trials"
    __table_args__ = (UniqueConstraint("data_fingerprint", "config_hash", name="trials_once"),)

    id: str = Field(primary_key=True, max_length=32)
    data_fingerprint: str
    config_hash: str = Field(max_length=64)
    created_at: str
    command: str
    sharpe: float | None = None
    n: int
    skew: float | None = None
    kurtosis: float | None = None
    event_log_hash: str = Field(max_length=64)
    label: str


class TrialReturns(SQLModel, table=True):
    """The daily returns of a trial (`storage.trials.unpacked` reads them)."""

    __tablename__ = "trial_returns"

    trial_id: str = Field(primary_key=True, max_length=32, foreign_key="trials.id")
    daily: bytes
