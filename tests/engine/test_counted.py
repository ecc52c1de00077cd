import pytest

from engine.counted import counted


@pytest.mark.parametrize(
    ("n", "plural", "said"),
    [
        (0, "alerts", "0 alerts"),
        (1, "alerts", "1 alert"),
        (1, "deliveries", "1 delivery"),
        (2_000, "symbols", "2,000 symbols"),
    ],
)
def test_one_thing_is_not_said_in_the_plural(n: int, plural: str, said: str) -> None:
    assert counted(n, plural) == said
