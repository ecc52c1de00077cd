"""The command line is put in order without being changed in meaning."""

import os

import pytest

from scripts.arguments import left_empty, normalised, not_text, split_names


@pytest.mark.parametrize(
    "given",
    [
        "--settings s.json --verbose backtest --seed 3",
        "backtest --settings s.json --seed 3 --verbose",
        "backtest --seed 3 --settings s.json --verbose",
        "--settings s.json backtest --verbose --seed 3",
    ],
)
def test_global_flags_may_stand_before_and_after_the_command(given):
    assert normalised(given.split()) == ["--settings", "s.json", "--verbose", "backtest", "--seed", "3"]


def test_a_global_option_may_carry_its_value_after_an_equals_sign():
    assert normalised(["backtest", "--defaults=d.json"]) == ["--defaults=d.json", "backtest"]


def test_a_global_option_without_its_value_is_left_for_the_parser_to_refuse():
    assert normalised(["backtest", "--settings"]) == ["--settings", "backtest"]


def test_several_words_after_strategies_become_several_options():
    given = ["backtest", "--strategies", "trend", "livermore", "--seed", "1"]
    assert normalised(given) == [
        "backtest",
        "--strategies",
        "trend",
        "--strategies",
        "livermore",
        "--seed",
        "1",
    ]


def test_a_list_ends_at_the_next_option_and_other_options_take_one_word():
    given = ["backtest", "--strategies", "trend", "--data", "a.csv", "b.csv"]
    assert normalised(given) == given


def test_words_after_two_dashes_are_left_alone():
    given = ["backtest", "--", "--verbose", "x"]
    assert normalised(given) == given


@pytest.mark.parametrize(
    ("values", "names"),
    [(None, []), (["a,b", " c "], ["a", "b", "c"]), (["a", "a,b"], ["a", "b"]), ([",,"], [])],
)
def test_names_are_split_at_commas_and_kept_once(values, names):
    assert split_names(values) == names


@pytest.mark.parametrize(
    ("given", "option"),
    [
        (["backtest", "--output-dir", "", "--json"], "--output-dir"),
        (["--settings=", "backtest"], "--settings"),
        (["backtest", "--strategies", ",", "--json"], "--strategies"),
        (["backtest", "--strategies", "trend,,livermore"], None),
        (["backtest", "--output-dir", "out", "--json"], None),
        (["subscribe", "--topic", ""], None),
        (["why", "--", "--data", ""], None),
    ],
)
def test_an_option_whose_value_is_empty_is_found(given, option):
    assert left_empty(given) == option


def test_a_name_that_is_no_text_is_found():
    assert not_text(["backtest", "--output-dir", os.fsdecode(b"d\xff")]) == "d\udcff"
    assert not_text(["backtest", "--output-dir", "d\xff"]) is None
