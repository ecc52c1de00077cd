"""The kinds of values that settings have, with their bounds. Every number has an upper bound or is a share.

`| None` at a field means that null switches the limit off.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
CountOrZero = Annotated[int, Meta(ge=0, le=1_000_000)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
DayOfMonth = Annotated[int, Meta(ge=1, le=28)]

Share = Annotated[float, Meta(gt=0, le=1)]
ShareOrZero = Annotated[float, Meta(ge=0, le=1)]
ProperShare = Annotated[float, Meta(gt=0, lt=1)]
BasisPoints = Annotated[float, Meta(ge=0, le=10_000)]
Weight = Annotated[float, Meta(ge=0, le=1_000_000)]
Volatility = Annotated[float, Meta(gt=0, le=10)]
Coefficient = Annotated[float, Meta(ge=0, le=100)]
Rate = Annotated[float, Meta(gt=-1, le=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
SecondsOrZero = Annotated[float, Meta(ge=0, le=86_400)]
Milliseconds = Annotated[float, Meta(gt=0, le=86_400_000)]
RepeatHours = Annotated[float, Meta(gt=0, le=168)]
Hours = Annotated[float, Meta(ge=0, le=876_000)]
# Money is kept as int64 micro-dollars (9.2e12 dollars at most)
Dollars = Annotated[float, Meta(gt=0, le=1e12)]
DollarsOrZero = Annotated[float, Meta(ge=0, le=1e12)]
# Market values reach beyond what an account can hold
Amount = Annotated[float, Meta(ge=0, le=1e15)]

# \A and \Z: `$` would let a line break through, and from there into a mail header or a path
Line = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]*\Z", description="one line of text")]
Text = Annotated[
    str,
    Meta(pattern=r"\A[^\x00-\x1f\x7f]+\Z", description="one line of text, not empty"),
]
FolderPath = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f]+\Z", description="a path")]
Address = Annotated[
    str,
    Meta(
        pattern=r"\A[^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+\Z",
        description="an e-mail address",
    ),
]
TimeOfDay = Annotated[str, Meta(pattern=r"\A([01]\d|2[0-3]):[0-5]\d\Z", description="a time HH:MM")]

Frequency = Literal["daily", "weekly", "monthly"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
