"""One mail for a bad day: order, causes first, nothing left out."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from config.settings import Email
from monitors.digest import digest
from monitors.mail import Envelope, alert_mail
from tests.monitors.post import START_NS, transition

EMAIL = Email(enabled=True, smtp_server="x", sender="desk@fund.test", recipients=("pm@fund.test",))
FEED = transition(1, rule="feed", subject="feed", severity="critical", detail="down: no answer")
DEGRADED = transition(2, rule="monitor_degraded", subject="disk", severity="critical")
DRAWDOWN = transition(3, rule="drawdown", subject="portfolio", severity="critical", inhibited_by=FEED.key)
SECTOR = transition(4, rule="sector", subject="biotech", inhibited_by=FEED.key)


def text(told):
    envelope = Envelope("<a@fund.test>", EMAIL.recipients, False, START_NS)
    return alert_mail(EMAIL, told, envelope).get_body(("plain",)).get_content()


def test_causes_are_never_held_back_and_list_what_is_in_every_order():
    """B-8"""
    for order in permutations([FEED, DEGRADED, DRAWDOWN, SECTOR]):
        told = digest(order)
        assert [item.newest.rule for item in told.items] == ["feed", "monitor_degraded"]
        assert [item.newest.rule for item in told.listed] == ["drawdown", "sector"]
        shown = text(told)
        assert shown.index("Data feed") < shown.index("Listed under the above")
        for one in (FEED, DEGRADED, DRAWDOWN, SECTOR):
            assert one.notif_key in shown


def test_what_a_cause_holds_back_speaks_for_itself_when_the_cause_was_told_before():
    told = digest([DRAWDOWN, SECTOR])
    assert [item.newest.rule for item in told.items] == ["drawdown", "sector"]
    assert told.listed == ()


@profile(max_examples=25)
@given(st.lists(st.integers(0, 300), min_size=1, max_size=200), st.randoms())
def test_every_key_is_in_the_mail_however_many_there_are(numbers, draw):
    said = [
        transition(n, label=label, inhibited_by=FEED.key if draw.random() < 0.2 else "")
        for n in dict.fromkeys(numbers)
        for label in draw.sample(["fired", "worse-2", "resolved"], k=draw.randint(1, 3))
    ]
    told = digest(said)
    assert sorted(told.notif_keys) == sorted(one.notif_key for one in said)
    shown = text(told)
    assert all(one.notif_key in shown for one in said)


def test_years_of_reminders_show_the_ends_of_their_keys_and_keep_all_in_the_headers():
    said = [transition(1, label=f"repeat-{n}") for n in range(1, 137)]
    told = digest(said)
    keys = [one.notif_key for one in said]
    shown = text(told)
    assert f"{keys[0]} and 134 more to {keys[-1]}" in " ".join(shown.split())
    assert shown.count(said[0].key) == 2
    envelope = Envelope("<a@fund.test>", EMAIL.recipients, False, START_NS)
    assert sorted(alert_mail(EMAIL, told, envelope).get_all("X-Alert-Key")) == sorted(keys)


def test_an_alert_that_fired_and_ended_is_one_item_with_both_times():
    over = transition(1, label="resolved", at_ns=START_NS + 3_600_000_000_000)
    (item,) = digest([transition(1), over]).items
    assert item.transitions == (transition(1), over)
    shown = text(digest([transition(1), over]))
    assert "1 alert, 1 of them over" in shown
    assert "fired 2024-01-02 16:00:00" in shown
    assert "detected 2024-01-02 17:00:00" in shown


def test_the_worst_come_first_and_what_is_over_last():
    told = digest([
        transition(1, severity="info"), transition(2, severity="critical", label="resolved"),
        transition(3, severity="warning"), transition(4, severity="critical"),
    ])  # fmt: skip
    assert [item.newest.subject for item in told.items] == ["S0004", "S0003", "S0001", "S0002"]
