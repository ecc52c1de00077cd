"""The `why` command: a symbol's life in a run, and why a day gave no signal."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import load_settings
from engine.counted import counted
from engine.errors import SmallcapError
from reports.why import Event, Life, closest, read_life, read_record, strategies_of, told
from scripts.assembly import BacktestRequest, UsageError, day
from scripts.console import prints_beside_results
from scripts.tables import print_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.slab import Bars, Universe
    from reports.why_replay import Explanation

DONE = 0
_PATHS = ("data", "sectors", "fundamentals", "symbols_file", "benchmark_weights")


@dataclass(frozen=True)
class Source:
    """The bars of a run and its strategies, opened again; None where they could not be. `problem`: why, or
    that the bars are others by now, "" if all is well."""

    universe: Universe | None = None
    bars: Bars | None = None
    facts: Any = None
    strategies: Sequence[Any] = ()
    problem: str = ""


def run_why(
    symbol: str,
    directory: Path,
    *,
    date: str | None = None,
    json: bool = False,
    settings_path: Path | None = None,
    defaults_path: Path | None = None,
    force: bool = False,
) -> int:
    """Run the command and return its exit code."""
    day(date, "--date")
    record = read_record(directory)
    name = symbol.upper()
    life = read_life(directory, name, record)
    known = life.symbols | set(record.get("universe", ()))
    if name not in known:
        near = closest(name, known)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise UsageError(f"{symbol}: no such symbol in {directory}{hint}")
    source = Source()
    with prints_beside_results():
        if date is not None:
            source = _source(record, load_settings(settings_path, defaults_path, force=force))
        explanations, problem = _explanations(name, date, life, source)
    events = life.events if date is None else life.on(date)
    if json:
        _print_json(life, events, explanations, problem, date)
    else:
        _print_report(life, events, explanations, problem, date)
    return DONE


def _source(record: Mapping[str, Any], settings: Any) -> Source:
    """Open the data that a run was made of, as run.json names them."""
    from scripts.audit import dated_facts, whole
    from scripts.sources import open_feed

    options = record.get("options")
    if not isinstance(options, dict):
        return Source(problem="run.json does not say what the run was made of")
    try:
        request = _request(options, record)
        feed = _cached_yahoo(request, record, settings) or open_feed(request, settings)
        strategies = _strategies(record, request)
        facts = dated_facts(request, settings, feed, strategies)
        problem = ""
        recorded = record.get("data", {}).get("fingerprint")
        if getattr(feed, "fingerprint", None) != recorded:
            problem = (
                f"the data have changed since the run: {record.get('data', {}).get('source')}; what is said"
                " here of conditions is of the data as they are now"
            )
        return Source(feed.universe, whole(feed), facts, strategies, problem)
    except (SmallcapError, OSError, TypeError) as error:
        return Source(problem=f"the run's data cannot be opened: {error}")


def _cached_yahoo(request: BacktestRequest, record: Mapping[str, Any], settings: Any) -> Any:
    """Return the feed of the cached bars of a run on Yahoo's prices, None for a run on others. A look back
    downloads nothing."""
    from feeds.yahoo import cached_feed
    from scripts.sources import split_benchmark, wanted_symbols

    of_index = record.get("universe", ()) if request.universe else ()
    if request.data is not None or not (symbols := wanted_symbols(request) or of_index):
        return None
    data = record.get("data", {})
    return cached_feed(
        of_index or symbols,
        str(data.get("first") or request.start),
        data.get("last"),
        cache_dir=Path(settings.storage.price_cache_dir),
        adjustment=request.adjustment or settings.backtest.adjustment,
        sectors=request.sectors,
        benchmark=split_benchmark(request.benchmark),
    )


def _request(options: dict[str, Any], record: Mapping[str, Any]) -> BacktestRequest:
    known = {field.name for field in fields(BacktestRequest)}
    given = {name: value for name, value in options.items() if name in known}
    for name in _PATHS:
        given[name] = Path(given[name]) if given.get(name) else None
    for name in ("symbols", "strategies", "params"):
        given[name] = tuple(given.get(name) or ())
    given["strategy_modules"] = tuple(Path(path) for path in given.get("strategy_modules") or ())
    request = BacktestRequest(**given)
    basis = record.get("settings", {}).get("backtest", {}).get("adjustment")
    return replace(request, adjustment=request.adjustment or basis)


def _strategies(record: Mapping[str, Any], request: BacktestRequest) -> list[Any]:
    from strategies import registry

    for module in request.strategy_modules:
        registry.load_module(module)
    return [registry.create(each["name"], **each.get("parameters", {})) for each in strategies_of(record)]


def _explanations(symbol: str, date: str | None, life: Life, source: Source) -> tuple[list[Explanation], str]:
    """Return why strategies gave no signal on a date, and what kept it from being found out."""
    if date is None:
        return [], source.problem
    if source.universe is None or source.bars is None:
        return [], source.problem
    from reports.files import Dates
    from reports.why_replay import explain_bar, of_symbol

    dates = Dates(source.bars.ts)(source.bars.ts)
    rows = [i for i, text in enumerate(dates) if text.startswith(date)]
    if not rows:
        before = max((text for text in dates if text < date), default="none")
        after = min((text for text in dates if text > date), default="none")
        return [], f"{date} is no session of these data; the nearest are {before} and {after}"
    if symbol not in source.universe.symbols:
        return [], f"{symbol} is not in the data"
    column = source.universe.symbols.index(symbol)
    signalled = {event.strategy for event in life.on(date) if event.kind == "signal"}
    found = []
    for strategy in source.strategies:
        if strategy.name in signalled:
            continue
        universe, bars, at = source.universe, source.bars, column
        if source.facts is not None and hasattr(strategy, "use_facts"):
            strategy.use_facts(source.facts)
        if strategy.name in ("dan_zanger_cup_handle", "trend_following", "livermore_breakout"):
            universe, bars = of_symbol(universe, bars, column)
            at = 0
        found.append(explain_bar(strategy, universe, bars, rows[-1], at))
    return found, source.problem


def _print_json(
    life: Life, events: list[Event], explanations: list[Explanation], problem: str, date: str | None
) -> None:
    from reports.manifest import to_json

    outcome = {
        "symbol": life.symbol,
        "date": date,
        "events": [
            {
                "date": e.date, "kind": e.kind, "strategy": e.strategy, **e.row,
                "measurements": dict(e.measurements),
            }
            for e in events
        ],
        "open_positions": life.open_positions,
        "no_signal": [
            {
                "strategy": each.strategy,
                "condition": each.condition or None,
                "note": each.note or None,
                "checks": [check._asdict() for check in each.checks or []],
            }
            for each in explanations
        ],
        "problem": problem or None,
        "missing_files": life.missing,
    }  # fmt: skip
    print(to_json(outcome, indent=None), end="")


def _print_report(
    life: Life, events: list[Event], explanations: list[Explanation], problem: str, date: str | None
) -> None:
    print_line(f"{life.symbol}{f' on {date}' if date else ''}: {counted(len(events), 'events')}")
    for name in life.missing:
        print_line(f"no {name} in this folder")
    shown = ""
    for event in events:
        if event.date != shown:
            print_line(event.date)
            shown = event.date
        first, *more = told(event)
        print_line(f"  {event.strategy}: {first}")
        for line in more:
            print_line(f"    {line}")
    if date is None:
        for held in life.open_positions:
            print_line(
                f"open: {held.get('strategy')} {held.get('quantity')} from {held.get('entry_date')} at"
                f" {held.get('entry_price'):.6g}, now {held.get('mark'):.6g}, stop {held.get('stop'):.6g}"
            )
    for each in explanations:
        _print_explanation(each)
    if problem:
        print_line(problem)


def _print_explanation(each: Explanation) -> None:
    if each.note:
        print_line(f"  {each.strategy}: no signal: {each.note}")
        return
    failed = next((check for check in each.checks or [] if not check.ok), None)
    if failed is not None:
        print_line(f"  {each.strategy}: no signal: {failed.name}: {failed.measured}, needs {failed.needs}")
        for check in each.checks or []:
            if check.ok:
                print_line(f"    passed {check.name}: {check.measured}, needs {check.needs}")
    elif each.checks is not None:
        print_line(f"  {each.strategy}: every condition is met, but the files hold no signal")
    else:
        print_line(f"  {each.strategy}: no signal{f': {each.condition}' if each.condition else ''}")
