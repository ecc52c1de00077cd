"""No collection within, and afterwards as it was."""

import gc

import pytest

from engine.garbage import uncollected


def test_nothing_is_collected_within_and_it_is_again_afterwards():
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_is_again_after_an_error_too():
    with pytest.raises(ZeroDivisionError), uncollected():
        raise ZeroDivisionError
    assert gc.isenabled()


def test_whoever_had_it_off_keeps_it_off():
    with uncollected():
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
