"""The commands `refresh-russell` and `refresh-sp500`: fetch the list of an index and keep it by its date."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from config import load_settings
from engine.counted import counted
from engine.errors import DataError, SmallcapError
from scripts.assembly import UsageError, day
from scripts.console import note
from scripts.interrupts import run_interruptible
from scripts.tables import print_line

if TYPE_CHECKING:
    from config.settings import DataSources
    from universe.refresh import Refreshed

_NEW_YORK = ZoneInfo("America/New_York")
_SHOWN = 12  # symbols that joined or left


def run_refresh(
    key: str,
    *,
    url: str | None = None,
    file: Path | None = None,
    as_of: str | None = None,
    json: bool = False,
    settings_path: Path | None = None,
    defaults_path: Path | None = None,
    force: bool = False,
) -> int:
    """Run the command and return its exit code. today: New York's date, for a list that says none."""
    from universe.constituents import INDICES, ConstituentStore
    from universe.refresh import refresh

    if url is not None and file is not None:
        raise UsageError("--url and --file are two sources; name one")
    today = datetime.now(_NEW_YORK).date()
    given = day(as_of, "--as-of")
    settings = load_settings(settings_path, defaults_path, force=force)
    sources, index = settings.data_sources, INDICES[key]
    store = ConstituentStore(settings.storage.universe_dir)
    address = url or {"russell-2000": sources.russell_2000_url, "sp500": sources.sp500_url}[key]
    try:
        if file is not None:
            content, name = _bytes(file), file.name
        else:
            host = urlsplit(address).hostname or address
            note(f"asking {host} for the {index.label}")
            content, name = download(address, host, sources), host
        done = refresh(store, index, content, name, undated=given or today, today=today)
    except SmallcapError as error:
        newest = store.newest(index)
        if newest is not None:
            error.args = (f"{error}; the list of {newest.as_of} stays",)
        raise
    if given and done.is_dated and done.as_of != given:
        note(f"--as-of {given} is not used: the list says {done.as_of} itself")
    if json:
        _print_json(index.key, done)
    else:
        _print_report(index.label, done, dated=done.is_dated or given is not None)
    return 0


def download(url: str, service: str, sources: DataSources) -> bytes:
    """Return the body of a page. Raises ProviderError, ConfigError for a URL that may not be asked."""
    from feeds.http import Http
    from feeds.rate_limit import RateLimit
    from feeds.retry import Patience

    parts = urlsplit(url)
    patience = Patience(sources.retries + 1, sources.backoff_seconds, sources.backoff_seconds_max)
    limit = RateLimit(None, clock=time.monotonic)

    async def ask() -> bytes:
        base = f"{parts.scheme}://{parts.netloc}"
        async with Http(service, base, limit, patience=patience, timeout_s=sources.timeout_seconds) as http:
            return await http.get(
                parts.path, bytes, params=dict(parse_qsl(parts.query, keep_blank_values=True))
            )

    return run_interruptible(ask())


def _bytes(file: Path) -> bytes:
    try:
        return file.expanduser().read_bytes()
    except OSError as error:
        raise DataError(f"--file {file}: cannot be read ({error.strerror})") from None


def described(key: str, done: Refreshed) -> dict[str, Any]:
    """Return what became of a list, ready for JSON."""
    return {
        "index": key,
        "as_of": done.as_of.isoformat(),
        "new": done.is_new,
        "companies": done.n_companies,
        "left_out": [row._asdict() for row in done.left_out],
        "before": done.before.isoformat() if done.before else None,
        "entries_unread": list(done.entries_unread),
        "joined": list(done.joined),
        "left": list(done.left),
        "path": str(done.path),
    }


def _print_json(key: str, done: Refreshed) -> None:
    from reports.manifest import to_json

    print(to_json(described(key, done), indent=None), end="")


def _print_report(label: str, done: Refreshed, *, dated: bool) -> None:
    out = f", {counted(len(done.left_out), 'rows')} left out" if done.left_out else ""
    print_line(f"{label} as of {done.as_of}: {done.n_companies:,} companies{out}")
    if not dated:
        print_line("the list says no date of its own: it counts as of today; --as-of says otherwise")
    if done.entries_unread:
        n, shown = len(done.entries_unread), ", ".join(done.entries_unread[:_SHOWN])
        more = f" and {n - _SHOWN} more" if n > _SHOWN else ""
        print_line(f"dates of entry that are no ISO dates, so taken as members all along: {shown}{more}")
    for why, n in Counter(row.why.partition(":")[0] for row in done.left_out).most_common():
        rows = [row for row in done.left_out if row.why.startswith(why)]
        names = [row.symbol if row.symbol.isalnum() else row.name for row in rows]
        print_line(f"  {n} {why}: {', '.join(names)}")
    if done.before:
        for what, names in (("joined", list(done.joined)), ("left", list(done.left))):
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            shown = f": {', '.join(names[:_SHOWN])}{more}" if names else ""
            print_line(f"since {done.before} {len(names)} {what}{shown}")
    print_line(f"kept in {done.path}" if done.is_new else f"kept before, in {done.path}")
