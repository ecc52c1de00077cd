"""The tear sheet as text: complete, self-contained, harmless; its numbers are those of the files."""

from __future__ import annotations

import base64
import json
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from engine.errors import DataError
from reports import tearsheet
from reports.files import write_csv
from reports.folder import RunFolder
from reports.formats import percent
from reports.judgement import FILE, judge
from reports.tearsheet_appendix import ambiguous, survivorship
from storage.trials import DailyReturns, Trials
from tests.reports import written_run
from tests.reports.written_run import EVIL

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Outline(HTMLParser):
    """Checks that elements are closed in order, and collects what would be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.stack.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "data", "action", "poster") and not value.startswith(("#", "data:")):
                self.loads.append(value)
            assert not name.startswith("on"), f"{tag} has a handler {name}"

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, f"{tag} closes another element"


@pytest.fixture
def written(tmp_path, monkeypatch):
    manifest = written_run.write(tmp_path, monkeypatch)
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    return tmp_path


@pytest.fixture
def page(written):
    return tearsheet.write_tearsheet(written).read_text()


def outline(page: str) -> Outline:
    made = Outline()
    made.feed(page)
    made.close()
    assert made.stack == []
    return made


def packed(page: str, name: str) -> bytes:
    found = re.search(rf'id="packed-{name}">([^<]+)<', page)
    assert found, name
    return zlib.decompress(base64.b64decode(found[1]))


def test_the_page_is_well_formed_and_each_id_is_there_once(page):
    made = outline(page)
    assert len(made.ids) == len(set(made.ids))


def test_the_page_loads_nothing(page):
    assert outline(page).loads == []
    styles = page[page.index("<style>") : page.index("</style>")]
    assert "@import" not in styles
    assert "url(" not in styles


def test_names_from_data_are_text_and_never_markup(page):
    assert EVIL not in page
    assert "&lt;img src=x onerror=alert(&quot;planted&quot;)&gt;" in page
    assert "img" not in outline(page).tags


def test_plotly_takes_tags_for_markup_so_its_texts_are_escaped_too(page):
    charts = json.loads(packed(page, "charts"))["charts"]
    texts = [text for trace in charts["excursions"]["data"] for text in trace["text"]]
    assert texts == ['&lt;img src=x onerror=alert("planted")&gt; 2024-03-08']


def test_every_section_names_files_that_are_there(page, written):
    sources = re.findall(r'<p class="source">Numbers from (.*?)</p>', page)
    named = {name for source in sources for name in re.findall(r"<code>(.*?)</code>", source)}
    assert len(sources) >= 8
    assert [name for name in sorted(named) if not (written / name).is_file()] == []


def test_equity_and_drawdown_on_the_page_are_those_of_the_files(page, written):
    charts = json.loads(packed(page, "charts"))
    table = RunFolder(written).table("combined/daily.csv")
    assert charts["dates"] == table.text("date")
    drawn = {trace["name"]: trace for trace in charts["charts"]["drawdown"]["data"]}
    assert np.allclose(drawn["combined"]["y"], -table.numbers("drawdown"), atol=1e-6)
    equity = {trace["name"]: trace for trace in charts["charts"]["equity"]["data"]}
    assert np.allclose(
        equity["combined"]["y"], RunFolder(written).table("combined/equity_curve.csv").numbers("equity")
    )


def test_undefined_figures_say_why(page):
    assert "needs 30 calendar days" in page or "not defined" in page


def test_text_that_looks_like_a_placeholder_stays_as_it_is():
    assert tearsheet.fill("<{{a}}>{{b}}", {"a": "{{b}}", "b": "x"}) == "<{{b}}>x"


def test_a_page_for_printing_is_plain_and_cannot_end_its_script_early(written):
    made = tearsheet.render(RunFolder(written), for_print=True)
    assert 'id="packed-plotly"' not in made
    assert 'id="explorer"' not in made
    data = re.search(r'id="plain-charts">(.*?)</script>', made, re.S)
    assert data
    assert "<" not in data[1]
    assert json.loads(data[1])["charts"]


def test_a_folder_of_the_figures_alone_makes_a_page_too(tmp_path):
    (tmp_path / "performance").mkdir()
    (tmp_path / "performance/metrics.csv").write_text("strategy,final_equity,sharpe\ncombined,1234.5,0.5\n")
    made = tearsheet.write_tearsheet(tmp_path).read_text()
    outline(made)
    assert "This run has no run.json." in made


@pytest.mark.parametrize(
    ("options", "settings", "is_raw"),
    [("raw", "split", True), (None, "raw", True), ("split", "raw", False), (None, "split", False)],
)
def test_trades_in_unadjusted_prices_say_in_whose_shares_they_are(written, options, settings, is_raw):
    record = json.loads((written / "run.json").read_text())
    record |= {"options": {"adjustment": options}}
    costs = ("transaction_cost", "slippage_bps", "half_spread_bps", "impact_coefficient", "participation")
    account = dict.fromkeys((*costs, "risk_free_rate"), 0.0) | {"adjustment": settings}
    page = tearsheet.render(RunFolder(written, record | {"settings": {"backtest": account}}))
    assert ("entry, initial stop and R of a trade are in the shares that it ended with" in page) == is_raw


def test_a_folder_without_a_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(DataError, match="holds no run: none of performance"):
        tearsheet.write_tearsheet(tmp_path)


def test_a_universe_in_which_everything_survives_is_called_that():
    said = survivorship({"survivorship": {"names": 400, "names_at_end": 400}})
    assert "All 400 names still trade at the end" in said
    assert "hindsight" in said
    some = survivorship({"survivorship": {"names": 300, "names_at_end": 232}})
    one = survivorship({"survivorship": {"names": 1, "names_at_end": 1}})
    assert "The only name still trades at the end" in one
    assert "232 of 300 names still trade at the end: 77.3" in some
    assert "Not known" in survivorship({})


def test_bars_with_stop_and_target_are_counted_with_what_was_assumed():
    assert "None" in ambiguous({"counts": {"ambiguous_bars": 0}})
    assert "12 bars" in ambiguous({"counts": {"ambiguous_bars": 12}})


def test_the_number_of_trials_and_what_it_does_are_on_the_page(written):
    random = np.random.Generator(np.random.PCG64(2))
    made = [DailyReturns(np.arange(600, dtype=np.int32), random.normal(5e-4, 0.01, 600)) for _ in range(5)]
    judged = judge(made[0], Trials(7, (0.1, 0.02, 0.05), tuple(made)))
    write_csv(written / FILE, *judged.table())
    page = tearsheet.render(RunFolder(written))
    assert "7 configurations were tried on these data" in page
    assert f"reach by luck, {percent(judged.significance.dsr)}" in page
    told = f"configurations over the same 592 days is overfitted (PBO): {percent(judged.overfitting.pbo)}"
    assert f"the best of 5 {told}" in page
    write_csv(written / FILE, *judge(made[0], Trials(1, (0.1,), (made[0],))).table())
    page = tearsheet.render(RunFolder(written))
    assert (
        "mean_correlation,,of the daily returns of the trials compared,needs two"
        in (written / FILE).read_text()
    )
    assert "(PBO): not defined, the only configuration tried on these data so far." in page


def test_weights_of_several_dates_say_that_the_first_reach_back(written):
    write_csv(
        written / "performance/brinson.csv",
        ("sector", "weight", "benchmark_weight", "contribution", "benchmark_return", "allocation",
         "selection", "active", "names", "coverage"),
        (["energy"], *[["0.1"]] * 9),
    )  # fmt: skip
    record = json.loads((written / "run.json").read_text())
    record |= {"benchmark_weights": {"dates": ["2024-01-02", "2024-01-03"], "by_name": False}}
    page = tearsheet.render(RunFolder(written, record))
    assert "2 dated sets of weights, each from the session after its date, the first also before it;" in page
