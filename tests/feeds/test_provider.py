"""Snapshots and the ways in which a source fails."""

import math

import msgspec
import pytest

from feeds.provider import FIELDS, NUMBERS, Dated, Failure, Origin, ProviderError, Snapshot

QUARTER = Dated(period_end="2025-12-31", value=0.4)


def said_by(source: str, fetched_at: int = 1, **fields: object) -> Snapshot:
    return Snapshot(symbol="AAA", source=source, fetched_at=fetched_at, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused_and_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} of AAA must be finite or None, was"):
        said_by("yahoo", **{name: value})


def test_nan_is_refused_in_series_and_other_figures_as_well() -> None:
    with pytest.raises(ValueError, match="value of 2025-12-31 must be finite"):
        Dated(period_end="2025-12-31", value=math.nan)
    with pytest.raises(ValueError, match="ebitda of AAA must be finite"):
        said_by("yahoo", other={"ebitda": math.nan})


def test_a_loss_may_be_negative_and_a_price_may_not() -> None:
    assert said_by("yahoo", eps_ttm=-1.0, roe=-0.2, earnings_growth=-0.5).roe == -0.2
    with pytest.raises(ValueError, match=r"market_cap of AAA must be >= 0, was -1"):
        said_by("yahoo", market_cap=-1.0)


def test_what_a_source_lacks_is_filled_from_another_and_both_stay_named() -> None:
    yahoo = said_by("yahoo", 5, price=10.0, sector="Technology")
    other = said_by("alpha_vantage", 3, price=11.0, roe=0.0, quarterly_eps=(QUARTER,))
    both = yahoo.filled_from(other)
    assert (both.price, both.roe, both.quarterly_eps) == (10.0, 0.0, (QUARTER,))
    assert both.origin("price") == Origin("yahoo", 5)
    assert both.origin("roe") == both.origin("quarterly_eps") == Origin("alpha_vantage", 3)
    assert yahoo.missing - both.missing == {"roe", "quarterly_eps"}
    assert yahoo.filled_from(said_by("alpha_vantage")) is yahoo


def test_a_snapshot_survives_json_with_everything_it_knows() -> None:
    full = said_by(
        "yahoo", 7, name="A", price=0.0, quarterly_eps=(QUARTER,), other={"ebitda": 1.0},
        origins={"name": Origin("alpha_vantage", 2)},
    )  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(full), type=Snapshot) == full
    assert full.missing == set(FIELDS) - {"name", "price", "quarterly_eps", "other"}


@pytest.mark.parametrize("failure", list(Failure))
def test_a_failure_is_one_line_and_says_what_to_do(failure: Failure) -> None:
    error = ProviderError(failure, "Yahoo", "no\nanswer", symbol="AAA", retry_after_s=3.0)
    assert str(error) == "Yahoo about AAA: no answer"
    assert error.retry == (failure in ("timeout", "rate_limited", "unavailable", "malformed"))
    assert error.stop == (failure in ("unauthorized", "rate_limited", "quota_exhausted"))
