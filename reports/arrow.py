"""Arrays between NumPy and pyarrow without pandas: pyarrow's own conversions import it, half a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_arrow(values: NDArray[Any]) -> Any:
    """Return a pyarrow array of numbers, without nulls."""
    import pyarrow as pa

    plain = np.ascontiguousarray(values)
    kind = {"f": f"float{8 * plain.itemsize}", "i": f"int{8 * plain.itemsize}"}[plain.dtype.kind]
    return pa.Array.from_buffers(getattr(pa, kind)(), len(plain), [None, pa.py_buffer(plain)])


def text_array(values: Sequence[str]) -> Any:
    """Return a pyarrow array of text."""
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))


def significant(values: NDArray[np.float64], digits: int = 6) -> NDArray[np.float64]:
    """Return numbers rounded to so many digits; whole ones keep all of theirs. NaN stays NaN."""
    size = np.abs(values)
    power = np.zeros(len(values))
    np.log10(size, out=power, where=(size > 0) & np.isfinite(size))
    scale = 10.0 ** np.clip(digits - 1 - np.floor(power), 0, 300)  # Dividing by it is exact to the last digit
    return np.asarray(np.round(values * scale) / scale)


def as_numpy(cells: Any) -> NDArray[Any]:
    """Return the numbers of a pyarrow column or array, NaN for null."""
    import pyarrow as pa
    from pyarrow import compute as pc

    made = []
    for part in cells.chunks if hasattr(cells, "chunks") else [cells]:
        whole = pa.Array.from_buffers(part.type, len(part), [None, part.buffers()[1]], offset=part.offset)
        values = np.from_dlpack(whole).copy()
        if part.null_count:
            values[np.from_dlpack(pc.cast(pc.is_null(part), pa.uint8())) == 1] = np.nan
        made.append(values)
    return np.concatenate(made) if made else np.empty(0)
