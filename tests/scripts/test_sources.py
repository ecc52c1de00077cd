"""Which feed the options ask for, and what they may not ask for."""

from datetime import date
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

import feeds.yahoo
from config import Settings
from engine.errors import DataError
from scripts.assembly import BacktestRequest, UsageError, build_strategies
from scripts.sources import load_facts, open_feed, read_symbols, split_benchmark, wanted_symbols
from tests.scripts.price_file import write_prices

pytestmark = pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:DeprecationWarning")


@pytest.fixture
def settings(tmp_path):
    storage = {"panel_dir": str(tmp_path / "panels"), "price_cache_dir": str(tmp_path / "prices")}
    return msgspec.convert({"storage": storage}, Settings)


def test_without_data_options_it_is_the_synthetic_market_of_the_seed(settings):
    feed = open_feed(BacktestRequest(seed=3), settings)
    assert "synthetic market, seed 3" in feed.source


def test_dates_cut_the_synthetic_market_and_its_fingerprint(settings):
    feed = open_feed(BacktestRequest(start="2019-07-01", end="2019-12-31"), settings)
    assert feed.n_rows == feed.bars.n_rows == 128
    assert str(feed.bars.ts[0].astype("M8[ns]"))[:10] == "2019-07-01"
    assert str(feed.bars.ts[-1].astype("M8[ns]"))[:10] == "2019-12-31"
    other = open_feed(BacktestRequest(start="2019-07-02", end="2019-12-31"), settings)
    assert feed.fingerprint != other.fingerprint


def test_dates_outside_the_synthetic_market_are_a_data_error(settings):
    with pytest.raises(DataError, match="no bars from 2030-01-01"):
        open_feed(BacktestRequest(start="2030-01-01"), settings)


@pytest.mark.parametrize("option", ["sectors", "benchmark"])
def test_options_for_files_do_not_go_with_the_synthetic_market(settings, tmp_path, option):
    with pytest.raises(UsageError, match=f"--{option} goes with --data or --symbol"):
        open_feed(BacktestRequest(**{option: "x:Y"}), settings)


def test_the_end_may_not_come_before_the_start(settings):
    with pytest.raises(UsageError, match="--start must not be after --end"):
        open_feed(BacktestRequest(start="2020-02-01", end="2020-01-01"), settings)


def test_a_file_is_read_with_its_symbols_dates_sectors_and_benchmark(settings, tmp_path):
    data = write_prices(tmp_path / "prices.csv", n_days=40)
    sectors = tmp_path / "sectors.csv"
    sectors.write_text("symbol,sector\nAAAA,Energy\nBBBB,Technology\n")
    request = BacktestRequest(
        data=data, symbols=("aaaa", "cccc"), start="2021-01-11", sectors=sectors, benchmark=f"{data}:BBBB"
    )
    feed = open_feed(request, settings)
    assert feed.universe.symbols == ("AAAA", "CCCC")
    assert feed.universe.sectors == ("Energy", "")
    assert feed.universe.benchmark == "BBBB"
    assert feed.n_rows == 35


def test_strict_refuses_a_bad_row(settings, tmp_path):
    data = write_prices(tmp_path / "prices.csv", n_days=40, spoil=[5])
    assert open_feed(BacktestRequest(data=data), settings).quality.n_rows == 1
    with pytest.raises(DataError, match=r"prices\.csv:7: AAAA"):
        open_feed(BacktestRequest(data=data, strict=True), settings)


@pytest.fixture
def yahoo(monkeypatch):
    calls = []

    def feed(*arguments, **options):
        calls.append(SimpleNamespace(arguments=arguments, **options))
        return "feed"

    monkeypatch.setattr(feeds.yahoo, "yahoo_feed", feed)
    return calls


def test_symbols_without_data_come_from_yahoo_as_the_settings_say(settings, yahoo):
    settings = msgspec.structs.replace(
        settings,
        data_sources=msgspec.structs.replace(settings.data_sources, retries=2, cache_ttl_hours=None),
    )
    request = BacktestRequest(symbols=("aapl",), start="2020-01-01", end="2024-01-01", adjustment="raw")
    assert open_feed(request, settings) == "feed"
    (call,) = yahoo
    assert call.arguments == (("AAPL",), date(2020, 1, 1), date(2024, 1, 1))
    assert call.politeness.attempts == 3
    assert call.ttl_hours == np.inf
    assert call.adjustment == "raw"


def test_a_cache_that_is_switched_off_is_always_too_old(settings, yahoo):
    settings = msgspec.structs.replace(
        settings, data_sources=msgspec.structs.replace(settings.data_sources, cache_enabled=False)
    )
    open_feed(BacktestRequest(symbols=("AAPL",), start="2020-01-01"), settings)
    assert yahoo[0].ttl_hours == 0.0


def test_a_download_without_start_says_how_far_back_it_goes(settings, yahoo, capsys):
    open_feed(BacktestRequest(symbols=("AAPL",), end="2024-06-30"), settings)
    assert yahoo[0].arguments[1] == date(2014, 1, 1)
    assert "2014-01-01" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "aapl\n\nMSFT\n",
        "Name,Symbol\nApple,AAPL\nMicrosoft,msft\n",
        "ticker\nAAPL\nMSFT\n",
        "# mine\nAAPL # fruit\nMSFT",
    ],
)
def test_a_file_of_symbols_is_a_list_or_a_table(tmp_path, text):
    path = tmp_path / "symbols.txt"
    path.write_text(text)
    assert read_symbols(path) == ["AAPL", "MSFT"]
    assert wanted_symbols(BacktestRequest(symbols=("msft", "x"), symbols_file=path)) == ("MSFT", "X", "AAPL")


@pytest.mark.parametrize("content", [None, b"", b"symbol\n", b"\xff\xfe\x00"])
def test_a_file_without_symbols_is_a_data_error(tmp_path, content):
    path = tmp_path / "symbols.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="--symbols"):
        read_symbols(path)


def test_a_benchmark_is_a_path_and_a_symbol():
    path, symbol = split_benchmark("c:/data/b.parquet:IWM")
    assert (str(path), symbol) == ("c:/data/b.parquet", "IWM")
    for wrong in ("b.parquet", ":IWM", "b.parquet:"):
        with pytest.raises(UsageError, match="PATH:SYMBOL"):
            split_benchmark(wrong)


@pytest.fixture
def facts(tmp_path):
    path = tmp_path / "facts.csv"
    path.write_text(
        "symbol,period_end,available_at,item,value\nAAAA,2020-12-31,2021-02-10,eps,1.5\nZZZZ,2020-12-31,,eps,1\n"
        "AAAA,2020-12-31,2021-02-10,eps,nonsense\n"
    )
    return path


@pytest.fixture
def universe(settings, tmp_path):
    return open_feed(BacktestRequest(data=write_prices(tmp_path / "p.csv", n_days=30)), settings).universe


def test_facts_reach_the_strategy_that_uses_them_and_bad_rows_are_reported(settings, universe, facts):
    strategies = build_strategies(["canslim", "trend"], [], [], {})
    quality = load_facts(BacktestRequest(fundamentals=facts), settings, universe, strategies)
    assert quality.n_rows == 1
    assert "1 of 2 facts" in quality.notes[-1]


def test_facts_of_the_settings_are_used_when_the_option_is_not_given(settings, universe, facts):
    settings = msgspec.structs.replace(
        settings, fundamentals=msgspec.structs.replace(settings.fundamentals, csv_path=str(facts))
    )
    strategies = build_strategies(["canslim"], [], [], {})
    assert load_facts(BacktestRequest(), settings, universe, strategies) is not None
    assert load_facts(BacktestRequest(), settings, universe, build_strategies(["trend"], [], [], {})) is None


def test_the_lag_that_is_assumed_after_a_period_is_a_setting(settings, universe, tmp_path):
    path = tmp_path / "undated.csv"
    path.write_text(f"symbol,period_end,item,value\n{universe.symbols[0]},2023-12-31,eps,1\n")
    moments = []

    class Taking:
        def use_facts(self, rows):
            moments.extend(rows["available_ns"].tolist())

    for days in (45, 50):
        fundamentals = msgspec.structs.replace(settings.fundamentals, lag_days_quarter=days)
        changed = msgspec.structs.replace(settings, fundamentals=fundamentals)
        load_facts(BacktestRequest(fundamentals=path), changed, universe, [Taking()])
    assert moments[1] - moments[0] == 5 * 86_400 * 10**9


def test_facts_without_can_slim_are_a_usage_error(settings, universe, facts):
    with pytest.raises(UsageError, match="can_slim"):
        load_facts(
            BacktestRequest(fundamentals=facts), settings, universe, build_strategies(["trend"], [], [], {})
        )
