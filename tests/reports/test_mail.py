"""The mail about a run: what it says, and that nothing in the data can forge a header, a line or markup."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest

from config.settings import Email
from engine.errors import ConfigError
from reports.mail import addresses, message

FIGURES = {
    "final_equity": 130500.0, "total_return": 0.305, "cagr": 0.09, "max_drawdown": 0.124, "sharpe": 1.234,
}  # fmt: skip


def settings(**changes):
    known = {"smtp_server": "localhost", "sender": "desk@fund.test", "recipients": ("pm@fund.test",)}
    return Email(**{**known, **changes})


def manifest(**changes):
    return {
        "interrupted": False,
        "mode": "sleeve",
        "metrics": {
            "trend_following": FIGURES | {"sharpe": None},
            "combined": FIGURES,
            "benchmark": FIGURES | {"total_return": -0.05},
        },
        "data": {
            "source": "prices.csv", "first": "2020-01-02", "last": "2021-01-29", "rows": 270, "symbols": 4,
        },
        "counts": {
            "bars": 1080, "signals": 12, "orders": 10, "fills": 9, "trades": 4, "rejections": 2,
        },
        "open_positions": [{}],
        "untraded": {},
        "event_log_hash": "0123abcd",
        **changes,
    }  # fmt: skip


def received(mail):
    """Return a mail as it arrives."""
    return message_from_bytes(bytes(mail), policy=default)


def bodies(mail):
    return [received(mail).get_body((kind,)).get_content() for kind in ("plain", "html")]


def test_a_benchmark_with_other_days_than_the_run_says_which():
    for said in bodies(message(settings(), manifest(benchmark_days=["2020-06-01", "2021-01-29"]))):
        assert "benchmark: over 2020-06-01 to 2021-01-29 alone, where it has prices" in said
    for said in bodies(message(settings(), manifest())):
        assert "alone" not in said


def test_a_figure_that_rounds_to_nothing_has_no_sign():
    text = bodies(message(settings(), manifest(metrics={"combined": FIGURES | {"cagr": -0.0002}})))[0]
    assert "-0.0%" not in text


def test_the_subject_says_how_it_went():
    mail = received(message(settings(), manifest()))
    assert mail["Subject"] == (
        "[smallcap] Backtest 2020-01-02 to 2021-01-29: return +30.5%, max drawdown 12.4%"
    )
    assert (mail["From"], mail["To"]) == ("desk@fund.test", "pm@fund.test")
    assert mail["Message-ID"].endswith("@fund.test>")
    assert mail["Date"].datetime.tzinfo is not None


def test_an_undefined_figure_is_a_dash_and_an_interrupted_run_says_so():
    figures = dict.fromkeys(FIGURES)
    mail = message(settings(), manifest(interrupted=True, metrics={"combined": figures}))
    assert "(interrupted): return -, max drawdown -" in mail["Subject"]


def test_text_and_html_hold_the_headline_table_the_counts_and_where_the_files_are():
    names = ["combined/equity_curve.csv", "tearsheet.html"]
    for body in bodies(message(settings(), manifest(), folder=Path("out/one"), names=names)):
        for expected in (
            "trend following", "combined", "benchmark", "130,500.00", "30.5%", "-5.0%", "1.23", "1,080 bars",
            "4 trades", "1 position open", "written to out/one: combined/equity_curve.csv, tearsheet.html",
            "prices.csv: 270 rows x 4 symbols, sleeve mode", "0123abcd",
        ):  # fmt: skip
            assert expected in body
    for body in bodies(message(settings(), manifest())):
        assert "no files were written" in body


def test_the_columns_of_the_text_line_up():
    text = bodies(message(settings(), manifest()))[0].splitlines()
    assert len({len(line) for line in text[2:6]}) == 1
    assert text[2].split() == ["final", "equity", "return", "CAGR", "max", "DD", "Sharpe"]


def test_nothing_in_the_data_can_start_a_header_a_line_or_markup():
    wicked = "x\r\nBcc: all@world.test\r\n\r\n<script>\x00\x1b[31m\u2028\udce9"
    data = manifest()["data"] | {"source": wicked, "first": wicked}
    mail = message(settings(), manifest(data=data, untraded={wicked: wicked}), folder=Path(wicked))
    arrived = received(mail)
    assert arrived["Bcc"] is None
    assert arrived.keys() == message(settings(), manifest()).keys()
    text, markup = bodies(mail)
    assert not [line for line in text.splitlines() if line.startswith("Bcc")]
    assert not set("\x00\x1b\u2028") & set(text + markup)
    assert "<script>" not in markup
    assert "&lt;script&gt;" in markup


@pytest.mark.parametrize("address", ["a,b@fund.test", "a@b@fund.test", "desk@", "x<y@fund.test", ""])
def test_one_setting_is_one_recipient_or_an_error(address):
    with pytest.raises(ConfigError, match="is no address"):
        addresses(settings(recipients=(address,)))


def test_names_beyond_ascii_arrive():
    arrived = received(message(settings(subject_prefix="[größe]"), manifest(mode="größe")))
    assert arrived["Subject"].startswith("[größe] Backtest")
    assert "größe mode" in arrived.get_body(("plain",)).get_content()
