"""`health`: a stored portfolio judged once, from files, by the monitors of the live one.

Exit codes: 0 healthy, 1 breached, 2 could not evaluate. So a scheduler can act on it.
"""

from __future__ import annotations

import json as jsonlib
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from msgspec import structs

from config.loader import load_settings
from config.settings import Settings
from engine.counted import counted
from engine.errors import DataError
from monitors.alerts import Episode, Transition
from monitors.digest import digest
from monitors.equity_file import EquityRow, read_equity
from monitors.monitoring import Monitors
from monitors.positions_file import StoredPosition, read_valued
from monitors.view import MICRO, PortfolioView, Position, Positions
from monitors.wording import headline
from scripts.console import note, report_error
from scripts.tables import print_line

HEALTHY, BREACHED, UNKNOWN = 0, 1, 2
OLD_DAYS = 7
EQUITY, POSITIONS = "equity_curve.csv", "positions.csv"
_NEW_YORK = ZoneInfo("America/New_York")


class Verdict(NamedTuple):
    """What is to be said of a portfolio."""

    session: str
    equity_usd: float
    max_drawdown: float  # of the whole curve, >= 0
    drawdown: float  # now
    drawdowns: tuple[Episode, ...]  # that passed the first level, oldest first; the last may be open
    open: tuple[Transition, ...]  # alerts that are open, as they were last told
    sectors: dict[str, tuple[float, float]]  # sector -> share of equity, of what is invested
    remarks: tuple[str, ...]


def run_health(
    equity: Path | None,
    positions: Path | None,
    *,
    email: bool = False,
    json: bool = False,
    settings_path: Path | None = None,
    defaults_path: Path | None = None,
    force: bool = False,
    verbose: bool = False,
) -> int:
    """Run the command and return its exit code."""
    try:
        settings = load_settings(settings_path, defaults_path, force=force)
        if email:
            from scripts.mail import require_settings

            require_settings(settings.email)
        folder = Path(settings.storage.portfolio_dir)
        verdict = judge(settings, equity or folder / EQUITY, positions or folder / POSITIONS)
    except Exception as error:  # Whatever it is: the code for "breached" must not come from it
        report_error(error, verbose=verbose)
        return UNKNOWN
    code = BREACHED if verdict.open else HEALTHY
    try:
        if json:
            print(jsonlib.dumps(_as_dict(verdict, settings, code), indent=2))
        else:
            _print(verdict)
        print(end="", flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # The exit must not fail at it again
        if not isinstance(error, BrokenPipeError):  # Else whoever reads the pipe has seen enough
            report_error(error, verbose=verbose)
            return UNKNOWN
    for remark in verdict.remarks:
        note(f"note: {remark}")
    if email and verdict.open:
        _mail(settings, verdict, verbose)
    return code


def judge(settings: Settings, equity: Path, positions: Path) -> Verdict:
    """Return what the monitors say of the portfolio. Raises DataError and ConfigError."""
    curve = read_equity(equity)
    age_days = (datetime.now(_NEW_YORK).date() - date.fromisoformat(curve[-1].session)).days
    if age_days < -1:  # A day may begin elsewhere first
        raise DataError(f"{equity}: {curve[-1].session} is yet to come; are day and month in this order?")
    stored = read_valued(positions, curve[-1].equity_usd)
    # Cash is what equity leaves: there is nothing to reconcile
    monitoring = structs.replace(settings.monitoring, reconciliation_bps=None)
    monitors = Monitors(structs.replace(settings, monitoring=monitoring), equity.stem)
    said: dict[str, Transition] = {}
    ended = []
    deepest, flow_micro = 0.0, 0
    for i, row in enumerate(curve):
        flow_micro += round(row.flow_usd * MICRO)
        held = stored.positions if row is curve[-1] else ()
        for one in monitors.evaluate(_view(i, row, held, flow_micro)):
            said[one.key] = one
        deepest = max(deepest, monitors.drawdown.value)
        if monitors.drawdown.ended is not None:
            ended.append(monitors.drawdown.ended)
    now = monitors.drawdown.episode
    first = settings.monitoring.drawdown_levels[0] if settings.monitoring.drawdown_levels else math.inf
    drawdowns = [one for one in [*ended, *([now] if now else [])] if one.depth >= first - 1e-9]
    last = _view(len(curve), curve[-1], stored.positions, flow_micro)
    return Verdict(
        curve[-1].session, curve[-1].equity_usd, deepest, monitors.drawdown.value, tuple(drawdowns),
        _as_of_now(monitors, said, last), _sectors(last), (*_remarks(curve, age_days), *stored.remarks),
    )  # fmt: skip


def _remarks(curve: Sequence[EquityRow], age_days: int) -> Iterator[str]:
    """Yield what keeps a curve from telling much, though it can be read."""
    if len(curve) == 1:
        yield "the equity curve has one value: no drawdown can be seen in it"
    if age_days > OLD_DAYS:
        yield f"the newest equity is {age_days:,} days old"


def _as_of_now(
    monitors: Monitors, said: Mapping[str, Transition], view: PortfolioView
) -> tuple[Transition, ...]:
    """Return what is open with the values of the last session: it was told of when it last changed."""
    return tuple(
        structs.replace(
            said[alert.key],
            value=alert.value,
            session=view.session,
            ts_ns=view.ts_ns,
            detected_ns=view.now_ns,
        )
        for alert in monitors.listing.alerts
    )


def _view(i: int, row: EquityRow, stored: Sequence[StoredPosition], flow_micro: int) -> PortfolioView:
    ts_ns = _close_ns(row.session)
    held = Positions.of(
        Position(one.symbol, "", one.sector, one.shares, one.cost_usd, one.price_usd, one.stop_usd, 0, ts_ns)
        for one in stored
    )
    equity_micro = round(row.equity_usd * MICRO)
    known = [value for value in held.values_micro if value == value]
    cash_micro = equity_micro - round(sum(known))
    return PortfolioView(
        row_seq=i, now_ns=ts_ns, ts_ns=ts_ns, session=row.session, equity_micro=equity_micro,
        cash_micro=cash_micro, positions=held, flow_micro=flow_micro,
    )  # fmt: skip


def _sectors(view: PortfolioView) -> dict[str, tuple[float, float]]:
    totals: dict[str, float] = {}
    for sector, value in zip(view.positions.sector, view.positions.values_micro, strict=True):
        totals[sector] = totals.get(sector, 0.0) + abs(value)  # As `monitors.concentration` counts
    invested, equity = sum(totals.values()), view.equity_micro or 0
    return {
        sector: (
            value / equity if equity > 0 else math.nan,
            value / invested if invested > 0 else math.nan,
        )
        for sector, value in sorted(totals.items())
    }


def _close_ns(session: str) -> int:
    at = datetime.fromisoformat(session).replace(hour=16, tzinfo=_NEW_YORK)
    return int(at.timestamp()) * 1_000_000_000


def _print(verdict: Verdict) -> None:
    print(f"Max drawdown: {_fall(verdict.max_drawdown)}")
    print_line(
        f"As of {verdict.session}: equity {verdict.equity_usd:,.2f}, {_fall(verdict.drawdown)} from the peak"
    )
    print("\nAlerts:")
    lines = [
        f"- Drawdown {one.depth:.2f} from {one.peak_session} to {one.recovery_session or verdict.session}"
        f" (trough {one.trough_session}{'' if one.recovery_session else ', still open'})"
        for one in verdict.drawdowns
    ]
    lines += [f"- {headline(one)}" for one in verdict.open if one.rule not in ("drawdown", "sector")]
    for line in lines or ["- none"]:
        print_line(line)
    print("\nSector breaches:")
    breaches = [one for one in verdict.open if one.rule == "sector"]
    for one in breaches:
        of_invested = verdict.sectors[one.subject][1]
        print_line(
            f"- {one.subject}: {_share(one.value)} (limit {one.threshold:.2f}),"
            f" {_share(of_invested)} of the invested"
        )
    if not breaches:
        print("- none")


def _share(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "unknown"


def _fall(drawdown: float) -> str:
    return f"{-drawdown:.1%}" if drawdown > 0.0 else "0.0%"


def _as_dict(verdict: Verdict, settings: Settings, code: int) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    limits = settings.risk_management.sector_limits
    return {
        "healthy": code == HEALTHY,
        "exit_code": code,
        "as_of": verdict.session,
        "equity": verdict.equity_usd,
        "max_drawdown": 0.0 - verdict.max_drawdown,
        "drawdown": 0.0 - verdict.drawdown,
        "drawdowns": [
            {
                "depth": one.depth, "peak": one.peak_session, "trough": one.trough_session,
                "recovery": one.recovery_session,
            }
            for one in verdict.drawdowns
        ],
        "sectors": {
            sector: {
                "share_of_equity": number(of_equity), "share_of_invested": number(of_invested),
                "limit": None if limits is None else limits.get(sector, limits["other"]),
            }
            for sector, (of_equity, of_invested) in verdict.sectors.items()
        },
        "alerts": [
            {
                "rule": one.rule, "subject": one.subject, "severity": one.severity,
                "value": number(one.value), "limit": one.threshold, "clear_level": one.clear_level,
                "since": one.since_session, "key": one.key,
            }
            for one in verdict.open
        ],
        "remarks": list(verdict.remarks),
    }  # fmt: skip


def _mail(settings: Settings, verdict: Verdict, verbose: bool) -> None:
    """Mail what is breached. A failure is reported and changes nothing about the verdict."""
    from email.utils import make_msgid

    from monitors.mail import Envelope, alert_mail
    from scripts.mail import MailError, deliver

    email = settings.email
    message_id = make_msgid("health", domain=(email.sender or "").rpartition("@")[2])
    now_ns = time.time_ns()
    envelope = Envelope(message_id, email.recipients, False, now_ns)
    found = [structs.replace(one, detected_ns=now_ns) for one in verdict.open]  # However old the files are
    try:
        n = deliver(email, alert_mail(email, digest(found), envelope))
    except MailError as error:
        report_error(error, verbose=verbose)
    else:
        note(f"mailed to {counted(n, 'recipients')}")
