"""Validity of bars and the record of what was set aside."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DataError
from feeds.quality import COLUMNS, NO_ROWS, Prices, Quality, Quarantine, Reason, fault, read_rows, valid_bars

numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.floats(0.5, 2.0), st.sampled_from([0.0, -1.0, 1.0])
)


def is_valid(o: float, h: float, low: float, c: float, v: float) -> bool:
    """Invariant 1 in words."""
    if not all(np.isfinite([o, h, low, c, v])):
        return False
    if min(o, h, low, c) <= 0 or v < 0:
        return False
    return h >= max(o, c) * (1 - 1e-6) and low <= min(o, c) * (1 + 1e-6)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers, numbers), min_size=1, max_size=8))
def test_validity_is_the_definition(bars: list[tuple[float, ...]]) -> None:
    columns = Prices(*(np.array(x) for x in zip(*bars, strict=True)))
    assert valid_bars(columns).tolist() == [is_valid(*bar) for bar in bars]


@pytest.mark.parametrize(
    ("bar", "reason", "detail"),
    [
        ((np.nan, 2, 1, 1, 5), Reason.NON_FINITE, "open nan"),
        ((1, 2, 1, 1, np.inf), Reason.NON_FINITE, "volume inf"),
        ((1, 2, 0, 1, 5), Reason.PRICE_NOT_POSITIVE, "low 0"),
        ((1, 1.5, 1, 2, 5), Reason.HIGH_TOO_LOW, "high 1.5 < close 2"),
        ((1, 2, 1.5, 2, 5), Reason.LOW_TOO_HIGH, "low 1.5 > open 1"),
        ((1, 2, 1, 2, -5), Reason.NEGATIVE_VOLUME, "volume -5"),
    ],
)
def test_a_fault_is_named_with_its_numbers(bar: tuple[float, ...], reason: Reason, detail: str) -> None:
    assert not is_valid(*bar)
    found, text = fault(bar)
    assert found is reason
    assert detail in text


def test_a_bar_without_volume_and_one_within_the_tolerance_are_valid() -> None:
    prices = Prices(*(np.array([x, y]) for x, y in ((10, 10), (10, 10 - 5e-6), (10, 10), (10, 10), (0, 1))))
    assert valid_bars(prices).all()


def quarantine(path: Path) -> Quarantine:
    rows = Quarantine(path)
    rows.add("f.csv", 3, "AAA", "2024-03-04", Reason.NON_FINITE, "close nan")
    rows.add("f.csv", 9, "BBB", "2024-03-08", Reason.NON_FINITE, 'said "nan", twice')
    rows.add("f.csv", 11, "", "not a date", Reason.BAD_DATE, "")
    rows.close()
    return rows


def test_what_was_set_aside_can_be_read_back(tmp_path: Path) -> None:
    written = quarantine(tmp_path / "q.csv")
    table = read_rows(tmp_path / "q.csv", None, "", "~")
    assert table["row"] == [3, 9, 11]
    assert table["detail"][1] == 'said "nan", twice'
    assert Quality(table).counts == dict(written.counts) == {"non_finite": 2, "bad_date": 1}
    assert list(Quality(table).frame().columns) == list(COLUMNS)


def test_only_the_symbols_and_days_in_use_are_reported(tmp_path: Path) -> None:
    quarantine(tmp_path / "q.csv")
    assert read_rows(tmp_path / "q.csv", frozenset(["BBB"]), "", "~")["row"] == [9, 11]
    assert read_rows(tmp_path / "q.csv", None, "2024-03-05", "2024-03-08")["row"] == [9, 11]


def test_strictness_names_the_first_row(tmp_path: Path) -> None:
    quarantine(tmp_path / "q.csv")
    quality = Quality(read_rows(tmp_path / "q.csv", None, "", "~"))
    with pytest.raises(DataError, match=r"^f\.csv:3: AAA 2024-03-04: close nan \(non_finite\) and 2 more"):
        quality.require_clean()
    Quality(NO_ROWS).require_clean()
