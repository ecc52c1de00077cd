"""The options that several commands have in common, as types for their parameters."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Mode(StrEnum):
    SLEEVE = "sleeve"
    BLEND = "blend"


class Adjustment(StrEnum):
    RAW = "raw"
    SPLIT = "split"
    TOTAL_RETURN = "total_return"


class Index(StrEnum):
    RUSSELL_2000 = "russell-2000"
    SP500 = "sp500"


Symbols = Annotated[
    list[str] | None,
    typer.Option(
        "--symbol", metavar="NAME", help="Symbols to look at; without --data they are downloaded from Yahoo."
    ),
]
SymbolsFile = Annotated[
    Path | None,
    typer.Option("--symbols", metavar="FILE", help="File with one symbol per line, or a column of them."),
]
IndexMembers = Annotated[
    Index | None,
    typer.Option("--universe", help="Buy only what was in this index on the day; see refresh-russell."),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Parquet or CSV, or a folder with a file per symbol. Default: a synthetic market.",
    ),
]
Sectors = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="CSV of symbol and sector, or an iShares holdings export."),
]
Start = Annotated[str | None, typer.Option(metavar="DATE", help="First day, 2020-01-31.")]
End = Annotated[str | None, typer.Option(metavar="DATE", help="Last day, included.")]
Strategies = Annotated[
    list[str] | None,
    typer.Option(
        "--strategies",
        metavar="NAMES",
        help="Several words, or commas: zanger canslim trend livermore. Default: all.",
    ),
]
TradingMode = Annotated[
    Mode | None, typer.Option(help="sleeve: an account per strategy; blend: one for all. Default: settings.")
]
Capital = Annotated[
    float | None,
    typer.Option(metavar="DOLLARS", help="Initial capital of all accounts. Default: settings."),
]
Benchmark = Annotated[
    str | None,
    typer.Option(metavar="PATH:SYMBOL", help="Series to compare with and to gate CAN SLIM by."),
]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME.KEY=VALUE", help="Parameter of a strategy, trend.fast_span=12."),
]
Fundamentals = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="Dated facts for CAN SLIM: a CSV, or a folder of JSON caches."),
]
StrategyModules = Annotated[
    list[Path] | None,
    typer.Option("--strategy-module", metavar="FILE", help="Python file that registers strategies."),
]
PriceBasis = Annotated[
    Adjustment | None, typer.Option("--adjustment", help="Basis of the prices. Default: settings, or split.")
]
Strict = Annotated[bool, typer.Option("--strict", help="A bad row is an error, not quarantined.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of tables.")]
