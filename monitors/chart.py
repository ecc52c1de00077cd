"""A small line chart as PNG bytes. Mail clients show no SVG; a plotting library would outweigh the monitor.

The picture has no letters: its caption and its alternative text say what it shows.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 1120, 280  # pixels; shown at half the size, sharp on dense screens
_MARGIN = 12
_LINE = 2  # pixels on either side
_PALETTE = (
    (255, 255, 255),  # 0 paper
    (214, 227, 240),  # 1 area
    (31, 88, 145),  # 2 line
    (190, 40, 40),  # 3 limit
    (150, 150, 150),  # 4 zero
)


def line_chart(values: Sequence[float], limit: float, *, downward: bool) -> bytes:
    """Return the chart of at least two values, the limit dashed across it. NaN leaves a gap.

    downward: zero at the top, as drawdowns are drawn.
    """
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    known = [value for value in values if math.isfinite(value)]
    level = limit if math.isfinite(limit) else 0.0
    low, high = min(0.0, *known, 0.0), max(level, *known, 1e-12) * 1.05

    def y_of(value: float) -> int:
        up = (value - low) / (high - low) * (HEIGHT - 2 * _MARGIN)
        return round(_MARGIN + up) if downward else round(HEIGHT - 1 - _MARGIN - up)

    zero, previous = y_of(0.0), None
    for x in range(WIDTH):
        value = _at(values, x / (WIDTH - 1) * (len(values) - 1))
        if not math.isfinite(value):
            previous = None
            continue
        y = y_of(value)
        before = y if previous is None else previous
        image[min(y, zero) : max(y, zero) + 1, x] = 1
        image[max(min(y, before) - _LINE, 0) : max(y, before) + _LINE + 1, x] = 2
        previous = y
    image[zero, image[zero] != 2] = 4
    if math.isfinite(limit):
        image[y_of(limit) - 1 : y_of(limit) + 1, np.arange(WIDTH) % 16 < 10] = 3
    return _png(image)


def _at(values: Sequence[float], place: float) -> float:
    left = min(int(place), len(values) - 2)
    return values[left] + (values[left + 1] - values[left]) * (place - left)


def _png(image: NDArray[np.uint8]) -> bytes:
    """Return palette numbers, uint8[height, width], as a PNG file (RFC 2083)."""
    height, width = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    palette = bytes(level for colour in _PALETTE for level in colour)
    filtered = np.concatenate((np.zeros((height, 1), np.uint8), image), axis=1)  # No filter on any row
    data = zlib.compress(filtered.tobytes(), 6)
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
