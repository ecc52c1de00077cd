"""Numbers as people read them in a report: by unit, with a true minus sign; safe to put into HTML."""

from __future__ import annotations

import html
import math

MINUS, NONE, SPACE = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{NO-BREAK SPACE}"


def figure(value: float | None, unit: str) -> str:
    """Return a metric's value; units are those of `reports.metrics`."""
    if value is None or not math.isfinite(value):
        return NONE
    if unit == "usd":
        return usd(value)
    if unit == "fraction":
        return percent(value)
    if unit in ("sessions", "days", "count"):
        return f"{value:,.0f}"
    shown = round(value, 2) + 0.0  # Never -0.0
    return minus(f"{shown:.2f}") + (f"{SPACE}R" if unit == "R" else "")


def percent(value: float | None, *, digits: int = 1, sign: bool = False) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    shown = round(100 * value, digits) + 0.0  # Never -0.0
    return minus(f"{shown:{'+' if sign else ''},.{digits}f}") + f"{SPACE}%"


def usd(value: float) -> str:
    """Return dollars: cents below a thousand, none above."""
    text = f"{abs(value):,.2f}" if abs(value) < 1000 else f"{abs(value):,.0f}"
    return f"{MINUS if value < 0 else ''}${text}"


def minus(text: str) -> str:
    return text.replace("-", MINUS)


def words(name: str) -> str:
    """Return a name of code as words, for HTML."""
    return escape(name.replace("_", " "))


def escape(text: str) -> str:
    return html.escape(text, quote=True)


def table(header: list[str], rows: list[list[str]], *, classes: str = "", words: tuple[int, ...] = ()) -> str:
    """Return an HTML table of finished cells. words: columns of prose, set left and wrapped."""
    kind = [' class="words"' if i in words else "" for i in range(len(header))]
    head = "".join(f"<th{kind[i]}>{cell}</th>" for i, cell in enumerate(header))
    body = "\n".join(
        "<tr>" + "".join(f"<td{kind[i]}>{cell}</td>" for i, cell in enumerate(row)) + "</tr>" for row in rows
    )
    named = f' class="{classes}"' if classes else ""
    inside = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="scroll"><table{named}>{inside}</table></div>'
