"""What a strategy is: bars in, signals out, state in plain arrays.

Two ways to write one:

- `KernelStrategy`: a compiled pass over the slab (see `strategies/trend.py` for the shortest example).
- `RowStrategy`: plain Python, one timestamp at a time. The loop then cuts its slabs to one row. Slower,
  same results.

Invariants of every strategy, held by property tests:
1. A signal at row t depends on rows <= t alone.
2. Any cutting of the same rows into slabs gives the same signals, bit for bit.
3. `state()` then `restore()` on a new instance continues as if nothing had happened.
"""

from __future__ import annotations

import enum
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import ConfigError, DataError, EngineError
from engine.events import SIGNAL_DTYPE, OrderType, Side, Tif, join_rows
from engine.exits import ExitRules
from engine.jit import entry, scalars
from engine.slab import ActionKind, Tape, Universe
from strategies.signal_checks import check_signals


class SignalBuffer(NamedTuple):
    """Where a kernel writes. `count[0]` rows are filled."""

    rows: NDArray[np.void]  # SIGNAL_DTYPE[capacity]
    count: NDArray[np.int64]  # type: ignore[assignment]  # int64[1]; nobody counts in this tuple


ROWS_MAX = 2**15  # up to here each new buffer is twice the one before it


def signal_buffer(capacity: int) -> SignalBuffer:
    """Return an empty buffer for `capacity` signals."""
    return SignalBuffer(np.empty(capacity, SIGNAL_DTYPE), np.zeros(1, np.int64))


class NoParams(NamedTuple):
    """What a strategy without parameters takes."""


class Strategy(ABC):
    """Common part. `name` is the full name in files, `short` the one people type."""

    name: ClassVar[str]
    short: ClassVar[str] = ""
    description: ClassVar[str] = ""
    measurements: ClassVar[tuple[str, ...]] = ()  # names of a signal's `details`, in order
    row_by_row: ClassVar[bool] = False  # True: wants slabs of one row
    Params: ClassVar[type[Any]] = NoParams  # a NamedTuple: names, types and defaults

    params: Any = NoParams()
    exits: ExitRules = ExitRules()

    @property
    @abstractmethod
    def warmup_bars(self) -> int:
        """Traded bars a symbol needs before it can signal."""

    @abstractmethod
    def start(self, universe: Universe) -> None:
        """Allocate state for these symbols, forgetting everything."""

    @abstractmethod
    def on_bars(self, tape: Tape, index: int) -> NDArray[np.void]:
        """Advance over the slab; return SIGNAL_DTYPE rows, `strategy` set to `index`."""

    def on_rename(self, old: str, new: str) -> None:
        """Go on with what is remembered of `old` under its new name, before the first bar of that."""
        return  # A strategy that remembers nothing of symbols has nothing to do

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return a copy of everything that outlives a slab: arrays, numbers, strings."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned, after `start` with the same universe."""

    def tally(self) -> dict[str, int]:
        """Return how many bars ended at each condition: the first that failed, or `signal`."""
        return {}

    def parameters(self) -> dict[str, Any]:
        """Return the parameters in force, for the run's record."""
        values = self.params._asdict()
        return {k: v.name.lower() if isinstance(v, enum.Enum) else v for k, v in values.items()}


class KernelStrategy(Strategy):
    """A strategy whose work is one compiled kernel.

    The kernel is called as `kernel(tape, params, state, out, row)`, advances rows `row`.. of the tape and
    returns the number of the first row that it did not process: it stops before a row for which `out` has
    fewer free places than the row has symbols. `state` is the NamedTuple of arrays that `allocate` made;
    an array called `tally` in it counts bars per entry of `conditions`. `symbol_axes` names those of
    its arrays that remember symbols, and the axis along which they lie; the first counts traded bars.
    """

    conditions: ClassVar[tuple[str, ...]] = ()
    symbol_axes: ClassVar[Mapping[str, int]] = {}
    scratch: ClassVar[tuple[str, ...]] = ()  # arrays that no snapshot needs
    kernel: ClassVar[Any]

    def __init__(self, **parameters: Any) -> None:
        self.params = coerce_params(self.Params, parameters, self.short or self.name)
        self.check(self.params)
        self._scalars = kernel_scalars(self.params)
        self._state: Any = None
        self._out: SignalBuffer | None = None
        self._entry: Callable[..., int] | None = None

    def check(self, params: Any) -> None:
        """Raise ConfigError where a combination of parameters makes no sense."""

    @abstractmethod
    def allocate(self, universe: Universe) -> Any:
        """Return the state, a NamedTuple of arrays, for a universe that has not traded yet."""

    def start(self, universe: Universe) -> None:
        self._state = self.allocate(universe)
        self._n_symbols = len(universe)
        self._column = {symbol: i for i, symbol in enumerate(universe.symbols)}
        self._out = signal_buffer(max(1024, 2 * self._n_symbols))

    def on_bars(self, tape: Tape, index: int) -> NDArray[np.void]:
        out = self._out
        if out is None:
            raise EngineError(f"strategy {self.name} must be started before it gets bars")
        if self._entry is None:
            self._entry = entry(type(self).kernel, tape, self._scalars, self._state, out, 0)
        parts = []
        row, n_rows = 0, len(tape.ts)
        while True:
            began, first = row, out.count.item()
            row = self._entry(tape, self._scalars, self._state, out, row)
            last = out.count.item()
            if last > first:  # Rows are never written again, so that they can be handed out as they are
                parts.append(out.rows[first:last])
            if row == n_rows:
                break
            stands = row == began and len(out.rows) - first >= self._n_symbols
            if stands or not began <= row < n_rows:
                raise EngineError(
                    f"strategy {self.name}: its kernel, called at row {began} of {n_rows}, returned {row};"
                    " expected the first row that it did not process"
                )
            out = self._out = signal_buffer(max(len(out.rows), min(2 * len(out.rows), ROWS_MAX)))
        if not parts:
            return _NO_SIGNALS
        rows = parts[0] if len(parts) == 1 else join_rows(parts)
        rows["strategy"] = index
        check_signals(rows, tape, self._n_symbols, self.name)
        return rows

    def on_rename(self, old: str, new: str) -> None:
        """Hand what is remembered of `old` to `new`, unless that has traded already."""
        columns = [self._column[old], self._column[new]]
        arrays = [(getattr(self._state, name), axis) for name, axis in self.symbol_axes.items()]
        if not arrays or arrays[0][0][columns[1]] > 0:
            return
        for array, axis in arrays:
            if array.shape[axis] == self._n_symbols:  # An array of an option that is off has one place
                by_symbol = np.moveaxis(array, axis, 0)
                by_symbol[columns] = by_symbol[columns[::-1]]

    def state(self) -> dict[str, Any]:
        return {k: v.copy() for k, v in self._state._asdict().items() if k not in self.scratch}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, value in self._state._asdict().items():
            if name in self.scratch:
                continue
            if state[name].shape != value.shape:  # It might fit all the same, as [1, 1] does everywhere
                raise DataError(
                    f"snapshot: {self.name} was run with other parameters; its {name} must have shape"
                    f" {value.shape}, was {state[name].shape}"
                )
            value[...] = state[name]

    def tally(self) -> dict[str, int]:
        if self._state is None or not self.conditions:
            return {}
        return dict(zip(self.conditions, (int(n) for n in self._state.tally), strict=True))


@dataclass
class Signal:
    """One decision of a `RowStrategy` at the close of the current row."""

    symbol: str
    side: Side
    confidence: float
    structure_stop: float = np.nan
    stop_distance: float = np.nan
    order_type: OrderType = OrderType.MARKET
    tif: Tif = Tif.DAY
    limit: float = np.nan
    trigger: float = np.nan
    trail: float = np.nan
    open_max: float = np.nan
    pivot: float = np.nan
    target: float = np.nan
    details: Mapping[str, float] = field(default_factory=dict)


class Row(NamedTuple):
    """One timestamp of the universe, float64[N] each; NaN where a symbol has no bar."""

    ts: int
    symbols: tuple[str, ...]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    traded: NDArray[np.bool_]  # advances state; False for no bar and for bars without volume
    resumed: NDArray[np.bool_]  # first bar after a long gap: forget this symbol


class RowStrategy(Strategy):
    """A strategy in plain Python. Keep everything that outlives a row in `self.memory`, a dict of arrays,
    numbers and strings: it is what a snapshot saves. `self.params` is what `Params` declares."""

    row_by_row: ClassVar[bool] = True
    memory: dict[str, Any]

    def __init__(self, **parameters: Any) -> None:
        self.params = coerce_params(self.Params, parameters, self.short or self.name)

    @property
    def warmup_bars(self) -> int:
        return 0

    def begin(self) -> None:
        """Set up `self.memory`; `self.universe` is known."""

    @abstractmethod
    def on_row(self, row: Row) -> Iterable[Signal] | None:
        """Return the signals at the close of this row, if any."""

    def on_split(self, symbol: str, ratio: float) -> None:
        """Rescale what is remembered of a symbol: prices / ratio, volumes x ratio."""

    def on_rename(self, old: str, new: str) -> None:
        """Move what is remembered of `old`, in `self.memory`, to `new`, which has rarely traded yet."""

    def start(self, universe: Universe) -> None:
        self.universe = universe
        self._column = {symbol: i for i, symbol in enumerate(universe.symbols)}
        self.memory = {}
        self.begin()

    def on_bars(self, tape: Tape, index: int) -> NDArray[np.void]:
        if len(tape.ts) != 1:
            raise EngineError(f"strategy {self.name} takes one row at a time, got {len(tape.ts)}")
        for action in tape.actions[tape.actions["kind"] == ActionKind.SPLIT]:
            self.on_split(self.universe.symbols[action["symbol"]], float(action["value"]))
        status = tape.status[0]
        row = Row(
            int(tape.ts[0]), self.universe.symbols, tape.open[0], tape.high[0], tape.low[0],
            tape.close[0], tape.volume[0], status >= 2, status == 3,
        )  # fmt: skip
        for array in row[2:7]:
            array.flags.writeable = False  # The bars are the desk's and the other strategies' too
        signals = sorted(self._signals(row), key=lambda s: self._column_of(s.symbol))
        if not signals:
            return _NO_SIGNALS
        rows = np.zeros(len(signals), SIGNAL_DTYPE)
        for out, signal in zip(rows, signals, strict=True):
            column = self._column_of(signal.symbol)
            out["ts"], out["symbol"], out["strategy"] = row.ts, column, index
            out["price_ref"] = row.close[column]
            try:
                self._copy(signal, out)
            except (TypeError, ValueError) as error:
                raise EngineError(f"strategy {self.name} signalled {signal.symbol} with {error}") from None
        check_signals(rows, tape, len(self.universe), self.name)
        return rows

    def _signals(self, row: Row) -> list[Signal]:
        made: Any = self.on_row(row)
        signals = list(made) if isinstance(made, Iterable) else [] if made is None else [made]
        for signal in signals:
            if not isinstance(signal, Signal):
                raise EngineError(f"strategy {self.name} returned {signal!r}; expected a list of Signal")
        return signals

    def _copy(self, signal: Signal, out: Any) -> None:
        if not 0.0 <= signal.confidence <= 1.0:
            raise ValueError(f"confidence {signal.confidence}; it must be 0 to 1")
        for name in _COPIED:
            out[name] = getattr(signal, name)
        out["details"] = np.nan
        for i, name in enumerate(self.measurements):
            out["details"][i] = signal.details.get(name, np.nan)

    def _column_of(self, symbol: str) -> int:
        try:
            return self._column[symbol]
        except KeyError:
            raise EngineError(
                f"strategy {self.name} signalled {symbol!r}, which is not in the universe"
            ) from None

    def state(self) -> dict[str, Any]:
        return {k: v.copy() if hasattr(v, "copy") else v for k, v in self.memory.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.memory = {k: v.copy() if hasattr(v, "copy") else v for k, v in state.items()}


_COPIED = (
    "side", "confidence", "structure_stop", "stop_distance", "order_type", "tif", "limit", "trigger",
    "trail", "open_max", "pivot", "target",
)  # fmt: skip
_NO_SIGNALS = np.empty(0, SIGNAL_DTYPE)


def coerce_params(params_type: type[Any], given: Mapping[str, Any], where: str) -> Any:
    """Return `params_type` with the given values, each converted to its field's declared type.

    Strings are accepted for every type (they come from the command line). Raises ConfigError naming the
    parameter, the value and what is allowed.
    """
    hints = typing.get_type_hints(params_type)
    unknown = [name for name in given if name not in hints]
    if unknown:
        raise ConfigError(
            f"{where}.{unknown[0]}: no such parameter; {where} has {', '.join(hints) or 'none'}"
        )
    values = {}
    for name, kind in hints.items():
        default = params_type._field_defaults.get(name)
        values[name] = _coerce(given.get(name, default), kind, f"{where}.{name}")
    return params_type(**values)


def _coerce(value: Any, kind: Any, where: str) -> Any:
    if issubclass(kind, enum.IntEnum):
        if isinstance(value, kind):
            return value
        try:
            return kind[str(value).upper()]
        except KeyError:
            names = ", ".join(member.name.lower() for member in kind)
            raise ConfigError(f"{where}: expected one of {names}, was {value!r}") from None
    if kind is bool:
        if isinstance(value, bool):
            return value
        text = str(value).lower()
        if text in ("true", "on", "yes", "1"):
            return True
        if text in ("false", "off", "no", "0"):
            return False
        raise ConfigError(f"{where}: expected true or false, was {value!r}")
    try:
        number = kind(value)
        if kind is int and isinstance(value, float) and value != number:
            raise ValueError
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: expected {kind.__name__}, was {value!r}") from None
    if number != number:
        raise ConfigError(f"{where}: expected a number, was {value!r}")
    return number


def kernel_scalars(params: Any) -> Any:
    """Return the parameters as the record that kernels take, enum members and switches as int."""
    return scalars(type(params)(*(int(v) if isinstance(v, (enum.IntEnum, bool)) else v for v in params)))
