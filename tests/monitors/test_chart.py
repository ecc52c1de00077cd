"""The chart is a valid picture of what it is given."""

from __future__ import annotations

import struct
import zlib
from math import inf, nan

import numpy as np
import pytest

from monitors.chart import HEIGHT, WIDTH, line_chart


def pixels(png):
    """Return the palette numbers of a PNG of one IDAT chunk, each chunk's checksum checked."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        name, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size])[0] == zlib.crc32(name + body)
        chunks[name] = body
        at += 12 + size
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (WIDTH, HEIGHT)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(HEIGHT, WIDTH + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def line_at(image, x):
    return int(np.flatnonzero(image[:, x] == 2).mean())


def test_a_drawdown_goes_down_and_a_share_up():
    falling = pixels(line_chart([0.0, 0.2], 0.1, downward=True))
    rising = pixels(line_chart([0.0, 0.2], 0.1, downward=False))
    assert line_at(falling, 5) < line_at(falling, WIDTH - 5)
    assert line_at(rising, 5) > line_at(rising, WIDTH - 5)


@pytest.mark.parametrize(
    "values", [[0.0, 0.0], [nan, 0.1, nan], [nan, nan], [0.1, inf], [-0.1, 0.3], [1e300, 0]]
)
@pytest.mark.parametrize("limit", [0.1, nan, inf])
def test_any_values_make_a_picture(values, limit):
    assert pixels(line_chart(values, limit, downward=True)).shape == (HEIGHT, WIDTH)


def test_the_limit_is_dashed_across():
    image = pixels(line_chart([0.0, 0.05], 0.2, downward=True))
    assert 0.5 < (image == 3).any(axis=0).mean() < 0.7
