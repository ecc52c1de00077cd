"""Every setting, its type, its bounds and its default, by section.

`default_settings.json` repeats the defaults for people to read and copy; a test keeps the two equal.
The defaults of `risk_management` and `backtest` are those of `brokers.config.DeskConfig`. Shares of equity
are fractions of 1. Treat the dicts as read-only: settings are cached and shared.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field, json

from config.constraints import (
    Address,
    Amount,
    BasisPoints,
    Coefficient,
    Count,
    CountOrZero,
    DayOfMonth,
    Dollars,
    DollarsOrZero,
    FolderPath,
    Frequency,
    Hours,
    Line,
    Milliseconds,
    Port,
    ProperShare,
    Rate,
    RepeatHours,
    Seconds,
    SecondsOrZero,
    Share,
    ShareOrZero,
    Text,
    TimeOfDay,
    Volatility,
    Weekday,
    Weight,
)
from config.secret import HIDDEN, Secret


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: closed to unknown keys. Neither msgspec nor mypy inherits `kw_only`."""


class Email(Section, frozen=True, kw_only=True):
    """How alerts are mailed. Certificates are checked unless `validate_certificates` is off."""

    enabled: bool = False
    smtp_server: Text | None = None
    smtp_port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    validate_certificates: bool = True
    username: Text | None = None
    password: Secret | None = None
    sender: Address | None = None
    recipients: tuple[Address, ...] = ()
    subject_prefix: Line = "[smallcap]"
    timeout_seconds: Seconds = 30.0
    daily_at: TimeOfDay | None = "17:30"  # New York; a word every day that the monitor is well


def _sector_limits() -> dict[str, ShareOrZero | None]:
    return {"biotech": 0.35, "technology": 0.40, "energy": 0.30, "other": 0.25}


class RiskManagement(Section, frozen=True, kw_only=True):
    """Sizing, caps and stops."""

    position_sizing: Literal["equal_weight", "fixed_risk", "vol_target", "confidence", "fixed_notional"] = (
        "equal_weight"
    )
    max_positions: Count | None = 20
    risk_per_trade: Share = 0.01
    target_volatility: Volatility = 0.15  # annualised, of the whole book
    fixed_notional: Dollars = 2_000.0  # dollars per entry
    max_name: Share | None = 0.10
    # A sector without a limit of its own has that of "other"; null for one sector switches its limit off
    sector_limits: dict[str, ShareOrZero | None] | None = field(default_factory=_sector_limits)
    max_gross: Share | None = 1.0
    adv_cap: Share | None = 0.05  # of 20-bar average dollar volume
    min_notional: DollarsOrZero | None = 500.0
    individual_stop: ProperShare | None = 0.08
    portfolio_stop: ProperShare | None = 0.20
    portfolio_action: Literal["liquidate", "halt_only", "halve"] = "liquidate"
    rearm_sessions: CountOrZero = 20
    rearm_regime: bool = True  # wait for a close whose regime is not bear
    drawdown_warnings: tuple[ProperShare, ...] = (0.10, 0.15)
    min_confidence: ShareOrZero = 0.5
    signal_ttl: CountOrZero = 5  # sessions


def _strategy_weights() -> dict[str, Weight]:
    return {
        "dan_zanger_cup_handle": 0.30,
        "can_slim": 0.25,
        "trend_following": 0.25,
        "livermore_breakout": 0.20,
    }


class DataSources(Section, frozen=True, kw_only=True):
    """Where prices and fundamentals come from, how long they are kept, how politely they are asked for."""

    cache_enabled: bool = True
    cache_ttl_hours: Hours | None = 24.0  # null: cached prices never expire
    yahoo_batch_size: Count = 50  # symbols per request
    yahoo_pause_seconds: SecondsOrZero = 1.0  # between batches
    retries: CountOrZero = 4
    backoff_seconds: SecondsOrZero = 1.0  # first wait; doubles, with jitter
    backoff_seconds_max: SecondsOrZero = 60.0
    timeout_seconds: Seconds = 30.0
    yahoo_url: Text | None = None  # null: Yahoo itself; for a mirror on this machine
    yahoo_stream_url: Text | None = None  # null: Yahoo itself; wss://, on this machine also ws://
    yahoo_calls_per_minute: Count | None = 60  # for fundamentals
    fundamentals_workers: Count = 4  # symbols asked about at once
    alpha_vantage_url: Text = "https://www.alphavantage.co"
    alpha_vantage_key: Secret | None = None
    alpha_vantage_calls_per_minute: Count | None = 5
    alpha_vantage_calls_per_day: Count | None = 25
    russell_2000_url: Text = (
        "https://www.ishares.com/us/products/239710/ishares-russell-2000-etf/1467271812596.ajax"
        "?fileType=csv&fileName=IWM_holdings&dataType=fund"
    )
    sp500_url: Text = (
        "https://raw.githubusercontent.com/datasets/s-and-p-500-companies/main/data/constituents.csv"
    )


class UniverseCriteria(Section, frozen=True, kw_only=True):
    """What a company must be to enter the universe. Empty lists admit all."""

    market_cap_min: Amount | None = 50_000_000.0
    market_cap_max: Amount | None = 2_000_000_000.0
    min_average_volume: Amount | None = None  # shares a day
    min_daily_volume: Amount | None = 500_000.0  # dollars, despite its name
    max_spread: Share | None = 0.03  # of mid
    min_float: Amount | None = 10_000_000.0  # shares
    target_sectors: tuple[Text, ...] = ()
    exchange_whitelist: tuple[Text, ...] = ()
    min_price: Amount | None = None  # dollars


class Storage(Section, frozen=True, kw_only=True):
    """Where things are kept. Relative paths start at the working directory."""

    data_dir: FolderPath = "data"
    price_cache_dir: FolderPath = "data/prices"
    panel_dir: FolderPath = "data/panels"  # imported bars, memory-mapped
    universe_dir: FolderPath = "data/universe"
    signals_dir: FolderPath = "data/signals"
    portfolio_dir: FolderPath = "data/portfolio"
    database_url: Secret | None = None  # may hold a password; null: SQLite under data_dir


class Fundamentals(Section, frozen=True, kw_only=True):
    """Point-in-time fundamentals: caches under `storage.universe_dir` and the assumptions of last resort."""

    enabled: bool = True
    csv_path: FolderPath | None = None
    json_dir: FolderPath | None = None
    cache_ttl_days: CountOrZero | None = 7  # null: never fetched again
    lag_days_quarter: CountOrZero = 45  # assumed when only the period's end is known
    lag_days_year: CountOrZero = 90


class Schedule(Section, frozen=True, kw_only=True):
    """When something runs."""

    enabled: bool = False
    frequency: Frequency = "weekly"
    day: Weekday = "sunday"  # of a weekly run
    day_of_month: DayOfMonth = 1  # of a monthly run
    time: TimeOfDay = "22:30"
    timezone: Text = "America/New_York"


class ScanSchedule(Schedule, frozen=True, kw_only=True):
    """When the universe is screened."""

    frequency: Frequency = "daily"
    time: TimeOfDay = "18:00"


class Validation(Section, frozen=True, kw_only=True):
    """What a refresh must reach, or the previous data stay in force."""

    min_symbols: CountOrZero | None = 20
    min_coverage: ShareOrZero | None = 0.80  # symbols refreshed / symbols asked for
    max_missing_fields: ShareOrZero | None = 0.50  # of one symbol's items
    max_age_days: Count | None = 14


class FundamentalsRefresh(Schedule, frozen=True, kw_only=True):
    """When and how fundamentals are fetched."""

    throttle_seconds: SecondsOrZero = 12.0  # between two requests
    include_sp500: bool = False
    include_russell: bool = True
    validation: Validation = field(default_factory=Validation)


class Automation(Section, frozen=True, kw_only=True):
    """What runs by itself."""

    scan: ScanSchedule = field(default_factory=ScanSchedule)
    fundamentals_refresh: FundamentalsRefresh = field(default_factory=FundamentalsRefresh)


class Backtest(Section, frozen=True, kw_only=True):
    """The simulated account and broker.

    With `costs` "realistic" the half-spread is estimated per symbol and impact has the coefficient 0.75;
    `half_spread_bps` and `impact_coefficient` belong to "default" and must then stay 0.
    """

    mode: Literal["sleeve", "blend"] = "sleeve"
    initial_capital: Dollars = 100_000.0
    transaction_cost: ShareOrZero = 0.001  # of the value of each fill
    slippage_bps: BasisPoints = 5.0
    costs: Literal["default", "realistic"] = "default"
    half_spread_bps: BasisPoints = 0.0
    impact_coefficient: Coefficient = 0.0
    participation: Share | None = 0.10  # of a bar's volume, all accounts together
    entry_carry_bars: CountOrZero = 3
    exit_waive_bars: CountOrZero = 10
    intrabar: Literal["worst", "best", "path"] = "worst"
    delist_after_sessions: Count | None = 20
    dividend_lowers_stop: bool = False  # a dividend of more than 5 % of the price lowers resting stops
    fractional_shares: bool = False
    risk_free_rate: Rate = 0.0  # a year
    adjustment: Literal["raw", "split", "total_return"] = "split"


class Monitoring(Section, frozen=True, kw_only=True):
    """When an alert fires, and how far a value must return before it may fire again. Null: never fires."""

    drawdown_levels: tuple[ProperShare, ...] = (0.10, 0.15, 0.20)
    drawdown_step: ProperShare | None = 0.05  # beyond the last level, again at each further step
    drawdown_clear: ShareOrZero = 0.03
    sector_clear: ShareOrZero = 0.02
    single_name_warn: Share | None = 0.10
    single_name_critical: Share | None = 0.15
    single_name_clear: ShareOrZero = 0.01
    stale_warn_sessions: Count | None = 1
    stale_critical_sessions: Count | None = 3
    feed_missing: Share | None = 0.05  # of the universe without today's bar
    feed_missing_clear: ShareOrZero = 0.02
    reconciliation_bps: BasisPoints | None = 1.0
    loop_lag_ms: Milliseconds | None = 1_000.0
    min_interval_days: CountOrZero = 7  # until a cleared alert that fires again is mailed again
    repeat_hours: RepeatHours = 4.0  # until a reminder; the pause doubles, up to a week


class Stream(Section, frozen=True, kw_only=True):
    """Where bars, signals, orders, fills, equity and alerts are published; off loopback only with keys."""

    address: Text | None = "tcp://127.0.0.1:5556"  # null: nothing is published
    replay_port: Port = 5557  # on the same host: snapshots and missed messages
    key_file: FolderPath | None = None  # NAME.key_secret of the publisher; null: open to this machine
    clients_dir: FolderPath | None = None  # public keys (*.key) of the clients admitted


class Monitor(Section, frozen=True, kw_only=True):
    """The live monitor as a process."""

    store_dir: FolderPath | None = None  # null: `live` under storage.data_dir
    portfolio: Line = "default"  # named in alerts
    snapshot_inputs: Count = 1_000  # between two snapshots; a start replays at most as many
    journal_rows_kept: Count | None = 1_000_000  # at least; older ones and what they said go; null: none
    tick_seconds: Seconds = 60.0  # without other news alerts are looked at again
    queue_rows: Count = 64  # waiting to be taken; then the feed waits
    heartbeat_seconds: Seconds = 300.0  # between two signs of life; twice that without one is trouble
    feed_dead_seconds: Seconds = 120.0  # without a sign of life the watchdog is not fed
    http_address: Text | None = "127.0.0.1:8311"  # health and metrics; null: none
    http_public: bool = False  # allow an address that others can reach
    http_token: Secret | None = None  # wanted by POST /halt; there, it needs one
    bars_address: Text | None = None  # of the publisher whose bars --feed zmq takes, tcp://HOST:PORT
    bars_key_file: FolderPath | None = None  # this monitor's secret key there; null: none is needed
    bars_server_key: FolderPath | None = None  # the publisher's public key


class Settings(Section, frozen=True, kw_only=True):
    """All settings of the program."""

    email: Email = field(default_factory=Email)
    risk_management: RiskManagement = field(default_factory=RiskManagement)
    strategy_weights: dict[str, Weight] = field(default_factory=_strategy_weights)
    data_sources: DataSources = field(default_factory=DataSources)
    universe_criteria: UniverseCriteria = field(default_factory=UniverseCriteria)
    storage: Storage = field(default_factory=Storage)
    fundamentals: Fundamentals = field(default_factory=Fundamentals)
    automation: Automation = field(default_factory=Automation)
    backtest: Backtest = field(default_factory=Backtest)
    monitoring: Monitoring = field(default_factory=Monitoring)
    stream: Stream = field(default_factory=Stream)
    monitor: Monitor = field(default_factory=Monitor)


def settings_as_dict(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON-ready values, secrets as `***`."""
    plain: dict[str, Any] = json.decode(json.encode(settings, enc_hook=_hide))
    return plain


def _hide(value: Any) -> Any:
    if isinstance(value, Secret):
        return HIDDEN
    raise TypeError(f"a setting must be plain data or a Secret, was a {type(value).__name__}")
