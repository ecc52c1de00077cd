"""A secret shows itself to nobody who does not ask for it by name."""

import copy
import json
import pickle

import pytest

from config import Secret

CANARY = "canary-7f3a"


def test_no_textual_form_shows_the_value():
    secret = Secret(CANARY)
    forms = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret:>20}",
        f"{secret!r}",
        str([secret]),
    ]
    assert all(CANARY not in form for form in forms)
    assert str(secret) == "***"


def test_reveal_gives_the_value():
    assert Secret(CANARY).reveal() == CANARY


def test_secrets_are_equal_when_their_values_are():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))


@pytest.mark.parametrize("write", [pickle.dumps, json.dumps, copy.deepcopy])
def test_a_secret_is_not_written_by_accident(write):
    with pytest.raises(TypeError):
        write(Secret(CANARY))
