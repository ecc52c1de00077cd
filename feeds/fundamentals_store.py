"""What was known about companies and when: snapshots on disk, one file per symbol, never edited.

1. A file `SYMBOL.jsonl` holds one snapshot per line, as each source gave it, oldest first. A version is only
   ever added, and the file replaced whole: a crash leaves the old one.
2. A figure without a period counts from the moment it was fetched and is never moved back.
3. A figure of a period counts from when it was public: from the source's date, else from the filing deadline
   (`feeds.visibility`) or, if later, from the answer before, which did not have it: its company files late.
   At the latest it counts from when it was fetched.
4. A later version that states a period differently is an amendment. It counts from when it was fetched.
5. Where sources differ, the first in PREFERENCE that says anything about a field is believed; a series counts
   as one field. Where its source changes, older periods that only the former one stated stay.

The caches of the original tool, `SYMBOL.json`, are read as the first version of their symbol.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from filelock import FileLock

from engine.errors import DataError
from engine.facts import PERIOD_UNKNOWN
from feeds.atomic import write_whole
from feeds.provider import NUMBERS, Dated, Origin, Snapshot, figure
from feeds.symbols import symbol_key
from feeds.visibility import DEADLINES, Lag, moment, visible_from

PREFERENCE = ("yahoo", "alpha_vantage")
_SYMBOL = re.compile(r"[A-Z0-9^][A-Z0-9.^=\-]{0,19}\Z")
_LEGACY_FIELDS = {
    "market_cap": "market_cap", "eps": "eps_ttm", "return_on_equity": "roe",
    "earnings_growth": "earnings_growth",
}  # fmt: skip
_MICROSECOND_NS = 1_000
_BESIDE_NS = 60 * 10**9  # between an answer and its turn to be stored, with another run at work
_SERIES = {"quarterly_eps": "eps", "annual_eps": "annual_eps", "shares_history": "shares_outstanding"}


class KnownFact(NamedTuple):
    """One value and when it could be known (UTC ns). period_end: ISO date, None of a figure without one."""

    item: str
    period_end: str | None
    value: float
    available_at: int
    source: str
    fetched_at: int


class FundamentalsStore:
    """Files in `folder`. legacy: folder with caches of the original tool, besides those in `folder`."""

    def __init__(self, folder: Path, *, legacy: Path | None = None, lag: Lag = DEADLINES) -> None:
        self.folder = folder
        self._lag = lag
        self._legacy = list(dict.fromkeys([folder, legacy or folder]))

    def symbols(self) -> list[str]:
        """Return the symbols of which anything is stored, sorted."""
        found = {path.stem for path in self.folder.glob("*.jsonl")}
        for folder in self._legacy:
            found |= {path.stem for path in folder.glob("*.json")}
        return sorted({symbol_key(symbol) for symbol in found if _SYMBOL.match(symbol)})

    def versions(self, symbol: str) -> tuple[Snapshot, ...]:
        """Return all that was ever stored of a symbol, oldest first. DataError for a damaged file."""
        path = self._path(symbol)
        spelt = dict.fromkeys((path.stem, path.stem.replace("-", ".")))  # BRK-B, and BRK.B of old
        caches = [folder / f"{name}.json" for folder in self._legacy for name in spelt]
        legacy = [read_legacy(cache) for cache in caches if cache.exists()]
        stored = read_versions(path) if path.exists() else ()
        return tuple(sorted((*legacy, *stored), key=lambda version: version.fetched_at))

    def newest(self, symbol: str, source: str) -> Snapshot | None:
        """Return the last version of one source."""
        return next((v for v in reversed(self.versions(symbol)) if v.source == source), None)

    def append(self, snapshot: Snapshot) -> None:
        """Store a version. Raises DataError where it is older than one that is stored: that would change
        what was known in the meantime. By less than a minute, it is of a run beside this one, and counts
        from the moment of that one.
        """
        path = self._path(snapshot.symbol)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / ".lock"):
                stored = read_versions(path) if path.exists() else ()
                older_ns = stored[-1].fetched_at - snapshot.fetched_at if stored else 0
                if older_ns >= _BESIDE_NS:
                    raise DataError(
                        f"{path}: the newest version was fetched later than this one; is the clock right?"
                    )
                if older_ns > 0:
                    snapshot = msgspec.structs.replace(snapshot, fetched_at=stored[-1].fetched_at)
                content = path.read_bytes() if stored else b""
                write_whole(path, content + msgspec.json.encode(snapshot) + b"\n")
        except OSError as error:
            raise DataError(f"{path}: cannot be written ({error.strerror or error})") from None

    def as_of(self, symbol: str, known_at: int) -> Snapshot | None:
        """Return what could be known of a symbol at a moment (UTC ns), None if nothing.

        Fields without a period come from the newest versions fetched by then; series hold what was public
        by then, each entry with its `available_at`, also where we only fetched it later.
        """
        versions = self.versions(symbol)
        seen = {version.source: version for version in versions if version.fetched_at <= known_at}
        facts = [f for f in known_facts(versions, self._lag) if f.period_end and f.available_at <= known_at]
        if seen:
            base = merged(seen)
        elif facts:
            newest = max(facts, key=lambda fact: fact.available_at)
            base = Snapshot(symbol=symbol_key(symbol), source=newest.source, fetched_at=newest.available_at)
        else:
            return None
        changes: dict[str, Any] = {"origins": dict(base.origins)}
        for field, item in _SERIES.items():
            of_field = [fact for fact in facts if fact.item == item]
            changes[field] = _series(of_field)
            if of_field:
                changes["origins"][field] = Origin(of_field[-1].source, of_field[-1].fetched_at)
        return msgspec.structs.replace(base, **changes)

    def _path(self, symbol: str) -> Path:
        key = symbol_key(symbol)
        if not _SYMBOL.match(key):
            raise DataError(f"{symbol!r} is no symbol of a share")
        return self.folder / f"{key}.jsonl"


def merged(newest: Mapping[str, Snapshot]) -> Snapshot:
    """Return the snapshots of several sources as one, field by field in the order of PREFERENCE."""
    ranks = {name: i for i, name in enumerate(PREFERENCE)}
    first, *others = sorted(newest, key=lambda name: (ranks.get(name, len(ranks)), name))
    snapshot = newest[first]
    for name in others:
        snapshot = snapshot.filled_from(newest[name])
    return snapshot


def known_facts(versions: Sequence[Snapshot], lag: Lag = DEADLINES) -> Iterator[KnownFact]:
    """Yield each value that versions (oldest first) made known, with the moment from which it may be used."""
    newest: dict[str, Snapshot] = {}
    told: dict[tuple[str, str], float] = {}
    asked_before: dict[tuple[str, str], tuple[str, int]] = {}  # newest period in a source's answer, and when
    for version in versions:
        newest[version.source] = version
        known = merged(newest)
        origin = version.source, version.fetched_at
        for name in NUMBERS:
            value = getattr(known, name)
            if value is not None and known.origin(name) == origin:
                yield KnownFact(name, None, value, version.fetched_at, *origin)
        for name, value in version.other.items():
            yield KnownFact(name, None, value, version.fetched_at, *origin)
        for field, item in _SERIES.items():
            had = asked_before.get((version.source, field))
            over = [d.period_end for d in getattr(version, field) if _is_over(d, version)]
            if over:
                asked_before[version.source, field] = max(over), version.fetched_at
            if known.origin(field) != origin:
                continue
            for dated in getattr(known, field):
                before = told.get((item, dated.period_end))
                if before == dated.value or not _is_over(dated, version):
                    continue
                available_at = version.fetched_at
                if before is None:
                    missed_at = had[1] if had and dated.period_end > had[0] else None
                    available_at = _public(dated, item, version.fetched_at, missed_at, lag)
                told[item, dated.period_end] = dated.value
                yield KnownFact(item, dated.period_end, dated.value, available_at, *origin)


def read_versions(path: Path) -> tuple[Snapshot, ...]:
    """Return the versions in a file of the store. Raises DataError naming the line that is damaged."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    versions = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue  # Where somebody removed a line
        try:
            versions.append(_decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DataError(f"{path}:{number}: not a stored version ({error}); remove the line") from None
    return tuple(versions)


def read_legacy(path: Path) -> Snapshot:
    """Return a cache of the original tool, `{source, fetched_at, data}`, as a version. Raises DataError."""
    try:
        cache = json.loads(path.read_bytes())
        source, data = str(cache["source"]), dict(cache["data"])
        fetched_at = visible_from(str(cache["fetched_at"]), PERIOD_UNKNOWN, "")
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{path}: not a fundamentals cache (JSON with source, fetched_at and data)") from None
    if fetched_at is None:
        raise DataError(f"{path}: fetched_at {cache['fetched_at']!r} is not an ISO time")
    fields: dict[str, Any] = {}
    other = {}
    for name, value in data.items():
        number = figure(value, positive=name == "market_cap")
        if number is not None and name in _LEGACY_FIELDS:
            fields[_LEGACY_FIELDS[name]] = number
        elif number is not None:
            other[name] = number
    symbol = symbol_key(path.stem)
    return Snapshot(symbol=symbol, source=source, fetched_at=fetched_at, other=other, **fields)


def _series(facts: Sequence[KnownFact]) -> tuple[Dated, ...]:
    newest = {fact.period_end or "": fact for fact in facts}  # the last amendment wins
    return tuple(
        Dated(period_end=period, value=fact.value, available_at=fact.available_at)
        for period, fact in sorted(newest.items())
    )


def _is_over(dated: Dated, version: Snapshot) -> bool:
    """Return whether a period had ended when it was told: the others are estimates."""
    end = moment(dated.period_end)
    return end is not None and end[0] <= version.fetched_at


def _public(dated: Dated, item: str, fetched_at: int, missed_at: int | None, lag: Lag) -> int:
    """Return from when a figure was public. missed_at: when its source was asked and did not have it yet."""
    end = moment(dated.period_end)
    assert end is not None
    if dated.available_at is not None and dated.available_at >= end[0]:
        return min(dated.available_at, fetched_at)
    deadline = visible_from("", end[0], item, lag)
    assert deadline is not None
    if missed_at is not None:
        deadline = max(deadline, missed_at + _MICROSECOND_NS)  # files tell moments by the microsecond
    return min(deadline, fetched_at)


_decoder = msgspec.json.Decoder(Snapshot)
