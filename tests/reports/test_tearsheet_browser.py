"""The tear sheet in a real browser. Skipped without Chromium: make chromium."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reports.pdf import find_chromium, write_pdf
from reports.tearsheet import write_tearsheet
from scripts.cli import run
from tests.reports import written_run
from tests.reports.browser import WAIT_S, browser
from tests.reports.written_run import EVIL

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="needs Chromium: make chromium")


@pytest.fixture
def written(tmp_path, monkeypatch):
    manifest = written_run.write(tmp_path, monkeypatch)
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    write_tearsheet(tmp_path)
    return tmp_path


def test_the_page_draws_its_charts_and_shows_a_chosen_trade_without_a_word_of_trouble(written):
    with browser() as page:
        page.resize(1280, 900)
        page.open(written / "tearsheet.html")
        page.value("drawAll()")
        there = page.value(
            "[...document.querySelectorAll('.chart')].map(c => [c.id, !!c.querySelector('svg')])"
        )
        drawn = {name for name, svg in there if svg}
        assert (
            {"equity", "drawdown", "r-multiples", "excursions", "account-0"}
            <= drawn
            == {name for name, _ in there}
        )

        page.value("openExplorer()")
        page.wait("document.querySelector('#trade-list button')")
        page.value("document.querySelector('#trade-list button').click()")
        page.wait("document.querySelector('#trade-chart .candlesticklayer, #trade-chart .boxlayer')")
        assert page.value("document.getElementById('trade-title').textContent").startswith(
            f"{EVIL}, first: +1.30\u00a0R"
        )
        names = page.value("document.getElementById('trade-chart').data.map(trace => trace.name)")
        assert {"signal", "initial stop", "bought"} <= set(names)
        assert page.value("document.querySelectorAll('img').length") == 0

        page.value("document.querySelector('[data-axis=linear]').click()")
        page.wait("document.getElementById('equity')._fullLayout.yaxis.type === 'linear'")
        assert page.trouble == []
        assert [url for url in page.requested if not url.startswith(("file:", "data:"))] == []


def test_the_equity_curve_is_there_without_a_script_and_stays_in_its_place(written):
    # [from the top of the chart, height]
    box = (
        "(() => {{ const e = document.querySelector('{}')?.getBoundingClientRect();"
        " return e && [e.top - document.querySelector('#equity').getBoundingClientRect().top,"
        " e.height]; }})()"
    )
    with browser() as page:
        page.resize(1280, 900)
        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.call("Page.navigate", url=(written / "tearsheet.html").resolve().as_uri())
        end = time.monotonic() + WAIT_S
        while not (still := page.value(box.format("#equity svg"))):
            assert time.monotonic() < end, "the curve never came"
        assert page.value("document.querySelectorAll('#equity path').length") >= 2

        page.call("Emulation.setScriptExecutionDisabled", value=False)
        page.open(written / "tearsheet.html")
        page.wait("document.querySelector('#equity .main-svg')")
        assert page.value("document.querySelectorAll('#equity .still').length") == 0
        drawn = page.value(box.format("#equity .nsewdrag"))
        assert drawn == pytest.approx(still, abs=4)
        assert page.trouble == []


def test_an_open_position_is_shown_with_the_stop_as_it_moved(written):
    (written / "trades/open_positions.csv").write_text(
        "entry_date,symbol,strategy,account,quantity,entry_price,mark,value,profit,return,r_multiple,"
        "bars_held,initial_stop,stop\n2024-03-08,BBB,second,second,5,20,20.3,101.5,1.5,0.015,0.15,2,18,19\n"
    )
    (written / "trades/stops.csv").write_text(
        "date,symbol,strategy,entry_date,stop\n2024-03-11,BBB,second,2024-03-08,18.5\n"
    )
    write_bars_of(written, "BBB")
    write_tearsheet(written)
    with browser() as page:
        page.open(written / "tearsheet.html")
        page.value("openExplorer()")
        page.value("(() => { const s = document.getElementById('trade-order'); s.value = 'open';"
                   " s.dispatchEvent(new Event('input')); })()")  # fmt: skip
        page.value("document.querySelector('#trade-list button').click()")
        page.wait("document.getElementById('trade-facts').textContent.startsWith('Open since 2024-03-08')")
        stop = page.value("(() => { const t = document.getElementById('trade-chart').data.find(t => t.name"
                          " === 'stop'); return [t.x, t.y]; })()")  # fmt: skip
        assert stop == [[1, 3, 3], [18, 18.5, 18.5]]
        assert page.trouble == []


def write_bars_of(folder, symbol):
    days = ["2024-03-07", "2024-03-08", "2024-03-11", "2024-03-12"]
    bars = {"symbol": [symbol] * 4, "date": days}
    for name, value in (("open", 20.0), ("high", 21.0), ("low", 19.0), ("close", 20.2), ("volume", 5e4)):
        bars[name] = pa.array([value] * 4, pa.float32())
    pq.write_table(pa.table(bars), folder / "trades/bars.parquet")


def test_bars_without_volume_move_neither_an_average_nor_where_a_pattern_begins(written):
    random = np.random.Generator(np.random.PCG64(4))
    close, volume = random.uniform(9, 11, 60), np.where(random.random(60) < 0.4, 0, 1000)
    volume[40] = 1000
    average, value = [], close[0]
    for price, traded in zip(close, volume, strict=True):
        value += 2 / 11 * (price - value) if traded else 0.0
        average.append(value)
    bars = json.dumps([{"close": c, "volume": int(v)} for c, v in zip(close.tolist(), volume, strict=True)])
    with browser() as page:
        page.open(written / "tearsheet.html")
        drawn = page.value(f"ema({bars}, 40, {float(average[40])}, 10, 'EMA 10', '#000').y")
        assert drawn[30:] == pytest.approx(average[30:], rel=1e-9)
        assert page.value(f"back({bars}, 40, 5)") == np.flatnonzero(volume[:40])[-5]
        assert page.value(f"back({bars}, 40, 500)") == -1


def test_a_cup_is_drawn_from_its_rim_to_the_lip_and_the_handle_from_there_to_the_signal(written):
    # The rim is bar 1, the bottom 3, the lip 6, the handle 7 to 9, the signal 11; bar 10 has no volume
    closes = [19, 20, 17, 15, 16, 18, 20.5, 20, 19, 19.5, 19.5, 22]
    bars = json.dumps([{"close": c, "volume": int(i != 10)} for i, c in enumerate(closes)])
    measured = {
        "cup_bars": 5,
        "handle_bars": 3,
        "left_rim": 20,
        "bottom": 15,
        "handle_low": 19,
        "pivot": 20.5,
    }
    with browser() as page:
        page.open(written / "tearsheet.html")
        drawn = f"measuredTraces({bars}, 11, {json.dumps(measured)}, {{}}).map(t => [t.name, t.x, t.y])"
        cup, handle, pivot = page.value(drawn)
        assert cup == ["cup", [1, 3, 6], [20, 15, 20.5]]
        assert handle == ["handle", [6, 8, 11], [20.5, 19, 20.5]]
        assert pivot == ["pivot", [1, 11], [20.5, 20.5]]
        earlier = json.dumps({**measured, "cup_bars": 9})
        names = page.value(f"measuredTraces({bars}, 11, {earlier}, {{}}).map(t => t.name)")
        assert names == ["handle", "pivot"]


def test_a_search_without_a_match_says_so(written):
    with browser() as page:
        page.open(written / "tearsheet.html")
        page.value("openExplorer()")
        page.value("(() => { const s = document.getElementById('trade-search'); s.value = 'ZZZ';"
                   " s.dispatchEvent(new Event('input')); })()")  # fmt: skip
        assert page.value("document.getElementById('trade-count').textContent") == "No trade matches."
        page.value("(() => { const s = document.getElementById('trade-search'); s.value = '<IMG';"
                   " s.dispatchEvent(new Event('input')); })()")  # fmt: skip
        assert page.value("document.getElementById('trade-count').textContent") == "1 trade"
        assert page.trouble == []


def test_nothing_is_wider_than_a_phone(written):
    with browser() as page:
        page.resize(390, 844, mobile=True)
        page.open(written / "tearsheet.html")
        page.value("drawAll()")
        assert page.value("document.documentElement.scrollWidth") == 390


def test_on_a_phone_no_sector_is_missing_from_the_legend_and_no_definition_is_cut(written):
    names = [f"sector of some length {i}" for i in range(11)]
    rows = [f"2024-01-0{day},{','.join(['0.05'] * 11)}" for day in (2, 3, 4, 5)]
    (written / "combined/sector_exposure.csv").write_text("\n".join([",".join(("date", *names)), *rows]))
    write_tearsheet(written)
    with browser() as page:
        page.resize(390, 844, mobile=True)
        page.open(written / "tearsheet.html")
        page.value("drawAll()")
        assert page.value(
            "[...document.querySelectorAll('#sectors .legendtext')].every(t => t.getBoundingClientRect()"
            ".bottom <= document.querySelector('#sectors .legend .bg').getBoundingClientRect().bottom)"
        )
        assert page.value("document.querySelectorAll('#sectors .scrollbar[width=\"6\"]').length") == 0
        assert page.value(
            "[...document.querySelectorAll('#appendix .scroll')].every(e => e.scrollWidth <= e.clientWidth)"
        )


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_days_under_the_bars_of_a_trade_do_not_run_into_each_other(written, width):
    with browser() as page:
        page.resize(width, 900)
        page.open(written / "tearsheet.html")
        page.value("openExplorer()")
        page.wait("document.querySelector('#trade-chart .xtick text')")
        boxes = page.value(
            "[...document.querySelectorAll('#trade-chart .xaxislayer-above .xtick text')].map(t =>"
            " { const box = t.getBoundingClientRect(); return [box.left, box.right, box.height]; })"
        )
        assert all(left > before for (_, before, _), (left, *_) in pairwise(boxes))
        assert max(height for *_, height in boxes) < 30  # Not turned into the volumes


def test_the_page_prints_to_pdf(written):
    assert write_pdf(written).read_bytes().startswith(b"%PDF-")


def test_a_pdf_that_cannot_be_put_in_its_place_is_one_line_that_names_it(written, capsys):
    (written / "tearsheet.pdf").mkdir()
    assert run(["report", str(written), "--pdf"]) == 1
    assert capsys.readouterr().err == f"error: --pdf {written / 'tearsheet.pdf'}: Is a directory\n"
