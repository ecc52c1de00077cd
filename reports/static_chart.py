"""The equity curve as SVG: on the page before any script has run, and without one.

It has the place, the scale and the colours of the chart that replaces it (`reports.charts.equity`), so that
nothing moves when it does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reports.charts import ACCENT, GREY, daily_equity
from reports.folder import RunFolder
from reports.formats import escape

Float = NDArray[np.float64]

WIDTH, HEIGHT = 1000, 297  # of the box that the browser stretches
POINTS = 600
_MARGIN = 0.055  # Plotly's, above and below the data of a logarithmic axis
_MANTISSAS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
_COARSE = (1.0, 2.0, 5.0)  # over more than a factor of ten


def equity(folder: RunFolder) -> str:
    """Return the curves of all accounts together and of the benchmark, "" where there are none."""
    table = folder.table("combined/daily.csv")
    curves = [("combined", daily_equity(folder), ACCENT, 2.0)]
    curves.insert(0, ("benchmark", table.numbers("benchmark"), GREY, 1.4))
    curves = [curve for curve in curves if np.any(curve[1] > 0)]
    days = table.text("date")
    if not curves or len(days) < 2:
        return ""
    x = np.array(days, "datetime64[D]").astype(np.int64)
    at = np.unique(np.append(np.arange(0, len(x), max(1, len(x) // POINTS)), len(x) - 1))
    logs = [(name, _log(values[at]), colour, width) for name, values, colour, width in curves]
    low = min(float(np.nanmin(values)) for _, values, *_ in logs)
    high = max(float(np.nanmax(values)) for _, values, *_ in logs)
    pad = max(high - low, 1e-3) * _MARGIN
    low, high = low - pad, high + pad
    across = (x[at] - x[0]) / (x[-1] - x[0]) * WIDTH
    ticks = _dollar_ticks(low, high)
    ends = np.array([0.0, WIDTH])
    lines = [_path(ends, _down(np.full(2, t), low, high), "#eceff2", 1) for t, _ in ticks]
    lines += [_path(across, _down(values, low, high), colour, width) for _, values, colour, width in logs]
    labels = [
        f'<span class="y" style="top:calc(47px + (100% - 83px) * {(high - t) / (high - low):.4f})">{text}'
        "</span>"
        for t, text in ticks
    ]
    labels += [
        f'<span class="x" style="left:calc(56px + (100% - 84px) * {share:.4f})">{year}</span>'
        for share, year in _year_ticks(x)
    ]
    labels += [
        f'<span class="name" style="left:{56 + 110 * i}px;color:{colour}">{escape(name)}</span>'
        for i, (name, _, colour, _) in enumerate(logs)
    ]
    box = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">'
    return f'<div class="still">{box}{"".join(lines)}</svg>{"".join(labels)}</div>'


def _log(values: Float) -> Float:
    made = np.full(len(values), np.nan)
    np.log10(values, out=made, where=values > 0)
    return made


def _down(values: Float, low: float, high: float) -> Float:
    return np.asarray((high - values) / (high - low) * HEIGHT)


def _path(x: Float, y: Float, colour: str, width: float) -> str:
    """Return a line, broken where there is no value."""
    steps, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if np.isfinite(b):
            steps.append(f"{pen}{a:.1f} {b:.1f}")
            pen = "L"
        else:
            pen = "M"
    return f'<path d="{"".join(steps)}" stroke="{colour}" stroke-width="{width:g}"/>'


def _dollar_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return the logarithms of round dollars, with their labels."""
    mantissas = _COARSE if high - low > 1 else _MANTISSAS
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    values = [m * 10.0**power for power in powers for m in mantissas]
    return [(float(np.log10(v)), _short(v)) for v in values if low <= np.log10(v) <= high]


def _short(dollars: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if dollars >= size:
            return f"${dollars / size:g}{letter}"
    return f"${dollars:g}"


def _year_ticks(days: NDArray[np.int64]) -> list[tuple[float, str]]:
    """Return the places, 0 to 1, of the first days of at most seven years."""
    years = days[[0, -1]].astype("datetime64[D]").astype("datetime64[Y]")
    first, last = (int(str(year)) for year in years)
    step = next(step for step in (1, 2, 5, 10, 20, 50) if (last - first) / step <= 7)
    starts = [year for year in range(first + 1, last + 1) if year % step == 0]
    span = float(days[-1] - days[0])
    numbers = [(int(np.datetime64(f"{year}-01-01").astype(np.int64)), year) for year in starts]
    return [((number - float(days[0])) / span, str(year)) for number, year in numbers]
