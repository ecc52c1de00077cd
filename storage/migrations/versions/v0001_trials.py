"""The registry of trials. A database from before there were versions has it already."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "trials",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("data_fingerprint", sa.String, nullable=False),
        sa.Column("config_hash", sa.String(64), nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("command", sa.String, nullable=False),
        sa.Column("sharpe", sa.Float),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("skew", sa.Float),
        sa.Column("kurtosis", sa.Float),
        sa.Column("event_log_hash", sa.String(64), nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.UniqueConstraint("data_fingerprint", "config_hash", name="trials_once"),
        if_not_exists=True,
    )
