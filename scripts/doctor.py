"""The command `doctor`: what works on this machine, on one screen, and what to do about what does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from config import load_settings
from config.errors import SettingsError
from config.loader import load_with_provenance
from engine.counted import counted
from engine.errors import SmallcapError
from scripts import doctor_checks as checks
from scripts.console import FAILURE, one_line
from scripts.doctor_checks import Finding, State, guarded
from scripts.interrupts import run_interruptible
from scripts.tables import console, print_line

if TYPE_CHECKING:
    from config.settings import Settings

_STYLES = {State.OK: "green", State.OFF: "dim", State.WARN: "yellow", State.FAIL: "bold red"}


def run_doctor(
    *, send_test_email: bool, json: bool, settings_path: Path | None = None,
    defaults_path: Path | None = None, force: bool = False,
) -> int:  # fmt: skip
    """Run the command and return its exit code: 1 where something that the settings ask for does not work."""
    findings = [*guarded("versions", checks.versions)]
    try:
        loaded = load_with_provenance(settings_path, defaults_path, force=force)
    except SettingsError as error:
        remedy = "correct it; what follows goes by the built-in defaults"
        findings.append(Finding("configuration", "settings", State.FAIL, one_line(str(error)), remedy))
        settings = load_settings(environ={})
    else:
        settings = loaded.settings
        findings += guarded("configuration", lambda: checks.configuration(loaded, checks.built_in()))
    now_s = time.time()
    findings += guarded("data", lambda: checks.storage(settings, now_s))
    findings += guarded("kernels", checks.kernels)
    findings += guarded("monitor", lambda: checks.monitor(settings, now_s))
    findings += run_interruptible(_outside(settings))
    if send_test_email:
        findings.append(_test_mail(settings))
    if json:
        from reports.manifest import to_json

        print(to_json([finding._asdict() for finding in findings], indent=None), end="")
    else:
        _print(findings)
    return FAILURE if any(finding.state is State.FAIL for finding in findings) else 0


async def _outside(settings: Settings) -> list[Finding]:
    async with asyncio.TaskGroup() as group:
        services = group.create_task(checks.services(settings))
        email = group.create_task(checks.email(settings.email))
    return [*services.result(), email.result()]


def _test_mail(settings: Settings) -> Finding:
    from reports.mail import new_mail
    from scripts import mail

    email = settings.email
    try:
        mail.require_settings(email)
        message = new_mail(email, "test message")
        message.set_content(
            "This is the test message of `doctor --send-test-email`.\n"
            "Alerts of the monitor and reports of runs will come the same way.\n"
        )
        n = mail.deliver(email, message)
    except SmallcapError as error:
        return Finding(
            "e-mail", "test message", State.FAIL, one_line(str(error)), "check the settings `email`"
        )
    return Finding("e-mail", "test message", State.OK, f"accepted for {counted(n, 'recipients')}")


def _print(findings: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    width = max(len(finding.name) for finding in findings)
    for section in dict.fromkeys(finding.section for finding in findings):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(width=4, no_wrap=True)
        table.add_column(width=width, no_wrap=True)
        table.add_column(overflow="fold")
        print_line(section)
        for _, name, state, detail, remedy in (f for f in findings if f.section == section):
            text = Text(detail)
            if remedy and state is not State.OK:
                text.append(f" -> {remedy}", style="bold" if state is State.FAIL else "dim")
            table.add_row(Text(state.value, style=_STYLES[state]), Text(name), text)
        console().print(table)
    n = {state: sum(finding.state is state for finding in findings) for state in State}
    problems = [f"{n[state]} {word}" for state, word in ((State.FAIL, "broken"), (State.WARN, "to look at"))]
    print_line(f"{n[State.OK]} well, {', '.join(problems)}, {n[State.OFF]} not in use")
