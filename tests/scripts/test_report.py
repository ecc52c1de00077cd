"""The `report` command: finished runs from their files, side by side, the original tool's too."""

from __future__ import annotations

import json

import pytest

from scripts import cli


def run_folder(path, *, sharpe=0.5, **manifest):
    """Write what `report` needs of a run."""
    (path / "performance").mkdir(parents=True)
    (path / "combined").mkdir()
    (path / "performance/metrics.csv").write_text(
        "strategy,final_equity,total_return,cagr,max_drawdown,sharpe\n"
        f"trend_following,110000.0,0.1,0.05,0.2,{sharpe}\ncombined,110000.0,0.1,0.05,0.2,\n"
    )
    (path / "combined/equity_curve.csv").write_text(
        "date,equity,cash,exposure,trend_following\n2024-01-02,100000.00,1.00,0.0,100000.00\n"
        "2024-01-03,110000.00,1.00,0.5,110000.00\n"
    )
    if manifest:
        (path / "run.json").write_text(json.dumps(manifest))
    return path


@pytest.fixture
def original(tmp_path):
    """What the original tool wrote: an index without a name, drawdowns as negative numbers."""
    path = tmp_path / "original"
    (path / "performance").mkdir(parents=True)
    (path / "combined").mkdir()
    columns = "final_equity,total_return,cagr,max_drawdown,sharpe"
    (path / "performance/metrics.csv").write_text(
        f",{columns}\ntrend_following,127000.0,0.27,0.08,-0.15,1.1\n"
    )
    (path / "combined/summary.csv").write_text(f",{columns}\n0,130500.0,0.305,0.09,-0.12,1.2\n")
    (path / "combined/equity_curve.csv").write_text(
        "date,equity\n2020-01-02 00:00:00,100000\n2020-01-03 00:00:00,130500\n"
    )
    return path


def report(*words, capsys):
    code = cli.run(["report", *map(str, words)])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_one_run_is_printed_again(tmp_path, capsys):
    code, out, _ = report(run_folder(tmp_path / "a"), capsys=capsys)
    assert code == 0
    assert "2024-01-02 to 2024-01-03: 2 rows" in out
    row = next(line for line in out.splitlines() if line.startswith("trend_following"))
    assert row.split() == ["trend_following", "110,000", "10.0%", "5.0%", "20.0%", "0.50"]
    assert "no run.json: how it was made is not known" in out


def test_an_undefined_figure_is_a_dash(tmp_path, capsys):
    _, out, _ = report(run_folder(tmp_path / "a"), capsys=capsys)
    assert next(line for line in out.splitlines() if line.startswith("combined")).split()[-1] == "-"


def test_runs_side_by_side_mark_what_differs_and_list_the_settings_that_do(tmp_path, capsys):
    one = run_folder(tmp_path / "a", settings={"backtest": {"slippage_bps": 5.0, "mode": "sleeve"}}, seed=7)
    other = run_folder(
        tmp_path / "b", sharpe=0.7, settings={"backtest": {"slippage_bps": 10.0, "mode": "sleeve"}}, seed=7
    )
    code, out, _ = report(one, other, capsys=capsys)
    assert code == 0
    assert "0.70*" in out
    assert "110,000*" not in out
    assert "settings.backtest.slippage_bps: A 5, B 10" in out
    assert "mode" not in out
    assert "seed" not in out


def test_equal_runs_are_called_equal(tmp_path, capsys):
    _, out, _ = report(run_folder(tmp_path / "a"), run_folder(tmp_path / "b"), capsys=capsys)
    assert "all figures are equal" in out
    assert "a: no run.json, its settings are not known" in out


def test_the_original_tools_folder_can_be_compared(original, tmp_path, capsys):
    code, out, _ = report(original, run_folder(tmp_path / "ours"), "--json", capsys=capsys)
    assert code == 0
    made = json.loads(out)
    found = {(row["account"], row["metric"]): row["values"] for row in made["figures"]}
    assert found["trend_following", "max_drawdown"] == [0.15, 0.2]
    assert found["combined", "total_return"] == [0.305, 0.1]
    assert made["notes"] == ["original: drawdowns were written as negative numbers"]
    assert made["without_settings"] == ["original", "ours"]


def test_a_series_with_a_figure_a_line_is_read_as_all_accounts_together(original, capsys):
    (original / "combined/summary.csv").write_text(",0\nfinal_equity,130500.0\nmax_drawdown,-0.12\n")
    _, out, _ = report(original, "--json", capsys=capsys)
    found = {(row["account"], row["metric"]): row["values"] for row in json.loads(out)["figures"]}
    assert found["combined", "max_drawdown"] == [0.12]


def test_the_comparison_is_one_page_that_loads_nothing(tmp_path, capsys):
    evil = run_folder(
        tmp_path / "<img src=x onerror=alert(1)>", seed=1, data={"source": "<script>alert(2)</script>"}
    )
    code, out, _ = report(
        evil,
        run_folder(tmp_path / "b", sharpe=0.7, seed=2, data={"source": "x"}),
        "--html",
        tmp_path,
        capsys=capsys,
    )
    assert code == 0
    assert "comparison.html" in out
    page = (tmp_path / "comparison.html").read_text()
    assert "<img" not in page
    assert "<script>alert" not in page
    assert "<strong>0.70</strong>" in page
    assert 'src="http' not in page


def test_the_comparison_names_its_sections_and_never_says_minus_nothing(tmp_path, capsys):
    clean = run_folder(tmp_path / "a", data={"rows": 2, "quarantined": {}})
    other = run_folder(tmp_path / "b", sharpe=-0.001, data={"rows": 2, "quarantined": {"bad_date": 2}})
    code, out, _ = report(clean, other, "--html", tmp_path, capsys=capsys)
    assert code == 0
    assert [line.strip() for line in out.splitlines() if "quarantined" in line] == [
        "data.quarantined.bad_date: A -, B 2"
    ]
    page = (tmp_path / "comparison.html").read_text()
    assert '<a href="#curves">Growth</a>' in page
    assert "<strong>0.00</strong>" in page
    assert "\N{MINUS SIGN}0.00" not in page


def test_refusals_are_told_with_their_number_and_how_many_reasons_are_left_out(tmp_path, capsys):
    refused = {f"reason_{i}": 1000 - i for i in range(6)}
    out = report(run_folder(tmp_path / "a", rejections=refused), capsys=capsys)[1]
    assert "rejections 5,985: reason_0 1,000, reason_1 999," in out
    assert "and 1 other reason" in out


def test_html_of_one_run_is_its_tear_sheet(tmp_path, capsys):
    assert report(run_folder(tmp_path / "a"), "--html", tmp_path, capsys=capsys)[0] == 0
    assert "<h1>2024-01-02 to 2024-01-03</h1>" in (tmp_path / "tearsheet.html").read_text()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.mkdir(), "holds no run"),
        (lambda path: path.write_text("x"), "not a folder"),
    ],
)
def test_what_is_no_run_is_one_clear_line(make, said, tmp_path, capsys):
    make(tmp_path / "x")
    code, out, err = report(tmp_path / "x", capsys=capsys)
    assert (code, out) == (65, "")
    assert err.count("\n") == 1
    assert said in err


def test_a_broken_file_is_named(tmp_path, capsys):
    path = run_folder(tmp_path / "a")
    (path / "run.json").write_text("{")
    code, _, err = report(path, capsys=capsys)
    assert code == 65
    assert "run.json" in err


def test_pdf_without_chromium_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = report(run_folder(tmp_path / "a"), "--pdf", capsys=capsys)
    assert code == 69
    assert err == "error: --pdf needs Chromium, which was not found: make chromium\n"


def test_pdf_is_of_one_run(tmp_path, capsys):
    code, _, err = report(run_folder(tmp_path / "a"), run_folder(tmp_path / "b"), "--pdf", capsys=capsys)
    assert code == 2
    assert "--pdf is of one run" in err


def test_a_backtest_finds_out_at_once_that_it_cannot_print(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.run(["backtest", "--pdf"]) == 2
    assert "--pdf goes with --output-dir" in capsys.readouterr().err
    assert cli.run(["backtest", "--pdf", "--output-dir", str(tmp_path / "out")]) == 69
    assert "make chromium" in capsys.readouterr().err
