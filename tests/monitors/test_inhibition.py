"""Inhibition never hides the cause (B-8): from the monitors to what a mail server got, in every order."""

from __future__ import annotations

from itertools import permutations

import pytest

from monitors.monitoring import Monitors
from monitors.view import Condition
from tests.monitors.post import Post, all_keys, keys_of, text_of
from tests.monitors.smtp_server import smtp_server
from tests.monitors.views import START_NS, position, settings, view

WHAT = {
    "stale feed": {"feed": "stale"},
    "holes": {"n_expected": 100, "missing": ("S1",) * 20},
    "drawdown": {"equity": 89},
    "sector": {"positions": (position("A", 40, sector="energy"),)},
    "degraded": {"conditions": (Condition("monitor_degraded", "disk", "slow"),)},
}
CAUSES = {"feed", "feed_missing", "monitor_degraded"}
LISTED = "Listed under the above"


def said_of(order, seconds_apart):
    """Return what the monitors say when one thing after the other goes wrong and stays so."""
    monitors = Monitors(settings(sector_limits={"other": 0.25}))
    monitors.evaluate(view(0, 100, seq=0))
    changes, found = {}, []
    for i, name in enumerate(order, start=1):
        changes |= WHAT[name]
        now_ns = START_NS + round(i * seconds_apart * 1e9)
        equity = changes.get("equity", 100)
        rest = {key: value for key, value in changes.items() if key != "equity"}
        found.append((now_ns, monitors.evaluate(view(0, equity, seq=i, **rest, now_ns=now_ns))))
    return found


async def mailed(order, seconds_apart):
    """Return what was said, and the mails that a server received."""
    said = said_of(order, seconds_apart)
    async with smtp_server() as server:
        post = Post(server.port)
        for _, transitions in said:
            post.say(*transitions)
            await post.run(seconds_apart)
        await post.run(120)
        post.close()
    return [one for _, transitions in said for one in transitions], server.accepted


@pytest.mark.parametrize("seconds_apart", [0.1, 60.0])
@pytest.mark.parametrize("first", WHAT)
async def test_whatever_comes_first_every_cause_is_told_and_every_symptom_is_in_a_mail(first, seconds_apart):
    """120 orders of the feed stale, holes in it, a drawdown, a sector breach and a degraded monitor."""
    for order in permutations(WHAT):
        if order[0] != first:
            continue
        said, mails = await mailed(order, seconds_apart)
        assert {one.rule for one in said} == CAUSES | {"drawdown", "sector"}
        assert sorted(all_keys(mails)) == sorted(one.notif_key for one in said)
        assert not any(one.inhibited_by for one in said if one.rule in CAUSES)
        for mail in mails:
            text = text_of(mail)
            own, _, listed = text.partition(LISTED)
            for one in said:
                if one.notif_key not in keys_of(mail):
                    continue
                assert one.notif_key in text
                parent = next((other for other in said if other.key == one.inhibited_by), None)
                if parent is not None and parent.notif_key in keys_of(mail):
                    assert one.notif_key in listed
                    assert parent.notif_key in own
                else:
                    assert one.notif_key in own


async def test_a_symptom_after_its_cause_was_told_has_a_mail_of_its_own_with_its_name_in_the_subject():
    _, mails = await mailed(("stale feed", "drawdown", "degraded"), 600.0)
    assert ["Drawdown" in one.mail["Subject"] for one in mails] == [False, True, False]
    assert not any(LISTED in text_of(one) for one in mails)


async def test_a_symptom_is_not_listed_under_a_cause_that_is_not_its_own():
    steps = said_of(("stale feed", "drawdown", "degraded"), 1.0)
    said = [one for _, transitions in steps for one in transitions]
    async with smtp_server() as server:
        post = Post(server.port)
        post.say(*[one for one in said if one.rule != "feed"])  # The feed was told in another mail
        await post.run(6)
        post.close()
    (mail,) = server.accepted
    assert LISTED not in text_of(mail)
