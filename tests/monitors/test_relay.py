"""What the relay promises: reliability.md B-1 to B-11, against a real SMTP server on this machine."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from monitors import outbox, relay
from monitors.relay import GREYLIST_S, PAUSES_S, Daily, pause_before
from monitors.wording import moment
from storage.seal import seal
from tests.monitors.post import START_NS, Post, all_keys, keys_of, text_of, transition
from tests.monitors.smtp_server import CUT, smtp_server
from tests.monitors.views import DAY_NS

DAY_S = 86_400.0
PM, RISK = "pm@fund.test", "risk@fund.test"


@asynccontextmanager
async def post(plan=None, **email):
    async with smtp_server(plan) as server:
        one = Post(server.port, **email)
        try:
            yield one, server
        finally:
            one.close()


class Switch:
    """A plan that can be changed while the server runs."""

    def __init__(self, plan=None):
        self.plan = plan or {}

    def __call__(self, stage, argument):
        return self.plan.get(stage)


async def test_what_is_said_in_one_event_is_one_mail_to_everyone():
    async with post(recipients=(PM, RISK)) as (one, server):
        one.say(*(transition(n) for n in range(5)))
        await one.run(10)
        ((received),) = server.accepted
        assert received.recipients == (PM, RISK)
        assert sorted(keys_of(received)) == sorted(transition(n).notif_key for n in range(5))
        assert one.stats() == outbox.Stats(0, 0, 0, None)


async def test_what_is_recorded_and_not_mailed_is_not_mailed():
    async with post() as (one, server):
        one.say(transition(1, mail=False, held_back="silenced"))
        await one.run(60)
        assert server.connections == 0


async def test_the_same_transition_recorded_twice_is_said_once():
    async with post() as (one, server):
        one.say(transition(1))
        one.say(transition(1))
        await one.run(60)
        one.say(transition(1))
        await one.run(60)
        assert all_keys(server.accepted) == [transition(1).notif_key]


async def test_a_storm_is_at_most_three_mails_a_minute_and_complete():
    """B-6"""
    async with post() as (one, server):
        arrived = []
        server.plan = lambda stage, _: arrived.append(one.clock.monotonic_s()) if stage == "body" else None
        fired = [transition(n) for n in range(2_000)]
        for n in range(0, 2_000, 100):
            one.say(*fired[n : n + 100])
            await one.run(0.05)
        over = [transition(n, label="resolved") for n in range(2_000)]
        for n in range(0, 2_000, 100):
            one.say(*over[n : n + 100])
            await one.run(0.05)
        await one.run(300)
        keys = all_keys(server.accepted)
        assert len(keys) == len(set(keys)) == 4_000
        assert set(keys) == {said.notif_key for said in (*fired, *over)}
        assert len(server.accepted) <= 8
        assert all(b - a >= 60.0 for a, b in zip(arrived, arrived[3:], strict=False))


async def test_a_storm_is_bounded_though_the_monitor_dies_again_and_again():
    """B-6: whoever starts it again every ten seconds gets no more mails than from one that lives."""
    async with post() as (one, server):
        arrived = []
        server.plan = lambda stage, _: arrived.append(one.clock.monotonic_s()) if stage == "body" else None
        for n in range(30):
            one.say(transition(n))
            await one.run(6)
            one.restart()
            await one.run(4)
        await one.run(120)
        assert sorted(all_keys(server.accepted)) == sorted(transition(n).notif_key for n in range(30))
        assert all(b - a >= 59.9 for a, b in zip(arrived, arrived[3:], strict=False))


async def test_a_poison_alert_is_buried_and_the_others_are_delivered_within_a_minute():
    """B-5"""
    async with post() as (one, server):
        good = [transition(n) for n in range(999)]
        one.say(*good[:300])
        with one.transaction() as connection:
            poison = ("poison", "p", "sector", "x", "fired", "warning", 0, b"\xff" * 40, 0, 1, "")
            connection.execute(
                "INSERT INTO outbox (notif_key, alert_key, rule, subject, label, severity, detected_ns,"
                " payload, journal_seq, mail, held_back, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*poison, seal(*poison)),
            )
        big = transition(5_000, detail="x" * 10_000_000)
        broken = transition(6_000, subject="A\r\nBcc: everyone@elsewhere.test\r\n\r\nall clear")
        one.say(big, *good[300:], broken)
        await one.run(60)
        keys = set(all_keys(server.accepted))
        assert keys >= {said.notif_key for said in (*good, broken)}
        assert not keys & {"poison", big.notif_key}
        told = [text for _, severity, text in one.told if severity == "critical"]
        assert len(told) == 2
        await one.run(120)
        about = [text_of(mail) for mail in server.accepted if "Mail not delivered" in text_of(mail)]
        assert any("poison" in text for text in about)
        assert any(big.key in text for text in about)
        assert all("Bcc" not in mail.mail for mail in server.accepted)


async def test_a_mail_that_a_server_will_not_take_is_halved_until_what_it_dislikes_is_alone():
    bad = transition(37).key
    async with post() as (one, server):

        def plan(stage, argument):
            return "552 not that one" if stage == "body" and bad in argument else None

        server.plan = plan
        good = [transition(n) for n in range(64) if n != 37]
        one.say(*good[:30], transition(37), *good[30:])
        await one.run(3_600)
        keys = all_keys(server.accepted)
        assert sorted(key for key in keys if key.endswith("fired")) == sorted(x.notif_key for x in good)
        assert [error for _, error in one.dead()] == ["552 not that one"]
        assert sum("Mail not delivered" in text_of(mail) for mail in server.accepted) == 1


async def test_a_recipient_that_is_unknown_is_given_up_and_the_other_is_served():
    def plan(stage, argument):
        return "550 no such user" if stage == "rcpt" and RISK in argument else None

    async with post(plan, recipients=(PM, RISK)) as (one, server):
        one.say(transition(1))
        await one.run(8)
        assert [mail.recipients for mail in server.accepted] == [(PM,)]
        assert one.dead() == [(RISK, "550 no such user")]
        assert "given up" in one.told[0][2]
        await one.run(3_600)
        # The alert about it reaches the other, and breeds no further ones
        assert [mail.recipients for mail in server.accepted] == [(PM,), (PM,)]
        assert "Mail not delivered" in text_of(server.accepted[1])
        assert one.stats().open == 0


async def test_a_greylisted_recipient_waits_five_minutes_and_the_other_does_not():
    tries = []

    def plan(stage, argument):
        if stage == "rcpt" and RISK in argument:
            tries.append(one.clock.monotonic_s())
            return "451 later" if len(tries) == 1 else None
        return None

    async with post(plan, recipients=(PM, RISK)) as (one, server):
        one.say(transition(1))
        await one.run(1_000)
        assert [mail.recipients for mail in server.accepted] == [(PM,), (RISK,)]
        assert GREYLIST_S <= tries[1] - tries[0] < 1_000
        first, second = (mail.mail for mail in server.accepted)
        assert first["Message-ID"] == second["Message-ID"]
        assert "repeat" not in second["Subject"]
        assert one.told == []


async def test_one_recipient_that_is_refused_for_a_while_holds_no_other_alert_up():
    def plan(stage, argument):
        return "450 busy" if stage == "rcpt" and RISK in argument else None

    async with post(plan, recipients=(PM, RISK)) as (one, server):
        one.say(transition(1))
        await one.run(10)
        one.say(transition(2))
        await one.run(10)
        assert all_keys(server.accepted) == [transition(1).notif_key, transition(2).notif_key]


@pytest.mark.parametrize("act", [CUT, "<garbage>"])
async def test_an_attempt_without_an_answer_is_repeated_under_the_same_names_and_says_so(act):
    """B-2, B-4: ambiguous"""
    switch = Switch({"body": act})
    async with post(switch) as (one, server):
        one.say(transition(1), transition(2))
        await one.run(6)
        switch.plan = {}
        await one.run(60)
        first, second = server.received
        assert (first.accepted, second.accepted) == (False, True)
        assert first.mail["Message-ID"] == second.mail["Message-ID"]
        assert keys_of(first) == keys_of(second)
        assert "[may be a repeat]" not in first.mail["Subject"]
        assert "[may be a repeat]" in second.mail["Subject"]
        assert second.mail["X-Alert-Repeat"] == "possible"
        assert text_of(second).startswith("This may be a repeat")


async def test_a_server_that_never_answers_is_not_sent_copies_for_days():
    async with post({"body": CUT}) as (one, server):
        one.say(transition(1))
        await one.run(DAY_S)
        about_it = [mail for mail in server.received if transition(1).notif_key in keys_of(mail)]
        assert len(about_it) == 8
        assert one.stats()[:3] == (0, 0, 2)  # it, and the alert about it


async def test_pauses_grow_to_half_an_hour_with_jitter():
    pauses = [pause_before(attempt, "x") for attempt in range(2, 8)]
    for pause, base in zip(pauses, (*PAUSES_S, 1800.0, 1800.0, 1800.0), strict=True):
        assert base <= pause <= base * 1.1
    assert len({pause_before(3, f"mail {n}") for n in range(50)}) == 50


async def test_an_outage_of_five_days_loses_nothing_and_is_told_elsewhere_within_a_minute(monkeypatch):
    """B-10, B-11"""
    monkeypatch.setattr(relay, "REST_S_MAX", 600.0)  # Days in fewer steps
    switch = Switch({"mail": "421 closed"})
    async with post(switch) as (one, server):
        said = {}
        for hour in range(0, 120, 3):
            said[hour] = transition(hour, at_ns=one.clock.now_ns())
            one.say(said[hour])
            await one.run(3 * 3600)
        assert server.accepted == []
        assert one.told[0][0] < 60.0
        assert one.told[0][1] == "critical"
        assert one.relay.status.failing_since_ns == START_NS + 5_000_000_000
        assert 200 < server.connections < 400  # half-hourly, not once for every alert
        switch.plan = {}
        back_ns = one.clock.now_ns()
        await one.run(3_600)
        keys = all_keys(server.accepted)
        assert sorted(keys) == sorted(one_said.notif_key for one_said in said.values())
        assert len(server.accepted) == 2  # the one that was tried all the time, then all the others
        assert one.told[-1][1] == "info"
        assert one.stats() == outbox.Stats(0, 0, 0, None)
        for mail in server.accepted:
            text = text_of(mail)
            assert text.startswith("LATE: sent ")
            sent = mail.mail["Date"].datetime
            assert sent.timestamp() * 1e9 >= back_ns
            for one_said in said.values():
                if one_said.notif_key in keys_of(mail):
                    assert moment(one_said.ts_ns) in text
                    assert f"detected {moment(one_said.detected_ns)}" in text


async def test_a_mail_in_time_does_not_say_that_it_is_late():
    async with post() as (one, server):
        one.say(transition(1))
        await one.run(60)
        text = text_of(server.accepted[0])
        assert "LATE" not in text
        assert f"Sent {moment(START_NS + 5_000_000_000)}" in text


async def test_years_that_are_replayed_in_seconds_are_one_mail_that_says_so():
    async with post(replayed=True) as (one, server):
        for year in range(2012, 2022):
            at_ns = START_NS - (2024 - year) * 365 * DAY_NS
            one.say(transition(year, at_ns=at_ns, session=f"{year}-01-03"))
            await one.run(1)
        assert server.accepted == []
        one.relay.hurry()
        await one.run(5)
        (received,) = server.accepted
        assert len(keys_of(received)) == 10
        assert "REPLAY 2012-01-03 to 2021-01-03 WARNING" in received.mail["Subject"]
        text = text_of(received)
        assert text.startswith("REPLAY: this is history")
        assert "10 alerts; sessions 2012-01-03 to 2021-01-03." in text
        assert "LATE" not in text


async def test_a_replay_that_takes_long_is_at_most_a_mail_a_minute():
    async with post(replayed=True) as (one, server):
        for n in range(60):
            one.say(transition(n, at_ns=START_NS + n * DAY_NS))
            await one.run(5)
        await one.run(60)
        assert 4 <= len(server.accepted) <= 6
        assert len(all_keys(server.accepted)) == 60


async def test_a_mail_about_a_replay_is_late_by_the_time_it_waited_here():
    async with post({"banner": "421 not now"}, replayed=True) as (one, server):
        one.say(transition(1, at_ns=START_NS - 3_000 * DAY_NS))
        await one.run(700)
        server.plan = {}
        await one.run(1_800)
        assert text_of(server.accepted[0]).split("\n")[1].startswith("LATE: sent 1")


async def test_a_monitor_that_stood_still_for_a_week_does_not_give_up_at_the_first_failure():
    """Started again, or woken up, the network may come a little later than the monitor."""
    switch = Switch({"banner": "421 busy"})
    async with post(switch) as (one, server):
        one.say(transition(1))
        await one.run(60)
        one.clock.jump(7 * DAY_S)
        one.restart()
        await one.run(60)
        switch.plan = {}
        await one.run(3_600)
        assert all_keys(server.accepted) == [transition(1).notif_key]
        assert one.stats().dead == 0


async def test_what_fails_for_more_than_five_days_is_given_up_loudly(monkeypatch):
    monkeypatch.setattr(relay, "REST_S_MAX", 600.0)  # Days in fewer steps
    async with post({"body": "451 not now"}) as (one, _):
        one.say(transition(1))
        await one.run(4.9 * DAY_S)
        assert one.dead() == []
        await one.run(0.2 * DAY_S)
        assert [error for _, error in one.dead()] == ["451 not now"]
        assert any("given up" in text for _, severity, text in one.told if severity == "critical")


async def test_a_recipient_that_hangs_on_one_message_does_not_block_the_next():
    switch = Switch({"body": "451 not this one"})
    async with post(switch) as (one, server):
        one.say(transition(1))
        await one.run(10)
        switch.plan = {}
        one.say(transition(2))
        await one.run(10)
        assert all_keys(server.accepted) == [transition(2).notif_key]
        await one.run(60)
        assert all_keys(server.accepted) == [transition(2).notif_key, transition(1).notif_key]


async def test_settings_that_are_refused_are_told_as_such():
    async with post({"mail": "550 you may not"}) as (one, _):
        one.say(transition(1))
        await one.run(10)
        assert "check the e-mail settings" in one.told[0][2]


async def test_with_mail_switched_off_what_waits_is_kept_as_a_record():
    async with post(enabled=False) as (one, server):
        one.say(transition(1))
        await one.run(120)
        assert server.connections == 0
        held = one.connection.execute("SELECT mail, held_back FROM outbox").fetchall()
        assert held == [(0, "e-mail is off")]


async def test_a_word_every_day_and_no_more_whatever_restarts():
    async with post(daily_at="17:30") as (one, server):
        asked = []

        def daily():
            asked.append(one.clock.now_ns())
            return Daily("Daily: all well", "Portfolio fund: all well.\nJournal row 7, abc")

        for _ in range(3):
            one.relay._daily = daily
            await one.run(DAY_S)
            restarted = Post(one.email.smtp_port, clock=one.clock, daily_at="17:30")
            restarted.connection.close()
            restarted.connection = one.connection
            one.relay = restarted.relay
            one.relay._transaction = one.transaction
            one.relay._daily = daily
            await one.run(60)
        subjects = [mail.mail["Subject"] for mail in server.accepted]
        assert subjects == ["[smallcap] Daily: all well"] * 3
        assert len({mail.mail["Message-ID"] for mail in server.accepted}) == 3
        assert "Journal row 7, abc" in text_of(server.accepted[0])


async def test_a_clock_set_back_delays_nothing_beyond_a_pause():
    switch = Switch({"mail": "421 closed"})
    async with post(switch) as (one, server):
        one.say(transition(1))
        await one.run(100)
        switch.plan = {}
        one.clock.jump(-30 * DAY_S)
        await one.run(2_000)
        assert all_keys(server.accepted) == [transition(1).notif_key]


async def test_it_runs_as_a_task_and_wakes_for_what_is_new():
    async with post() as (one, server):
        task = asyncio.create_task(one.relay.run())
        one.say(transition(1))
        one.wake.set()
        async with asyncio.timeout(600):
            while not server.accepted:
                await one.clock.advance(1)
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert Counter(all_keys(server.accepted)) == {transition(1).notif_key: 1}
