"""Reading of price files in chunks."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import DataError
from feeds import csv_batches
from feeds.bars_file import BarFile, open_bar_files
from feeds.files import list_files
from tests.feeds.price_files import HEADER, bar, write


def only_chunk(path: Path, symbol: str | None = None):  # type: ignore[no-untyped-def]
    (chunk,) = BarFile(path, path.name, symbol).chunks(prices=True)
    return chunk


def test_csv_rows_carry_the_line_numbers_of_an_editor(tmp_path: Path) -> None:
    lines = [HEADER, bar("A", "2024-03-04", 5), "", "A,2024-03-05,1", bar("A", "2024-03-06", 6)]
    file = BarFile(write(tmp_path / "p.csv", lines), "p.csv")
    (chunk,) = file.chunks(prices=True)
    assert chunk.row.tolist() == [2, 5]
    assert [entry for entry in file.broken if entry[1]] == [(4, "expected 7 fields, was 3")]


def test_a_cell_that_is_no_number_costs_its_row_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_batches, "_BLOCK_BYTES", 256)  # the bad cell comes in a later block
    lines = [HEADER, *(bar("A", f"2024-01-{d:02d}", d + 1) for d in range(1, 29)), "A,2024-02-01,x,1,1,1,1"]
    file = BarFile(write(tmp_path / "p.csv", lines), "p.csv")
    chunks = list(file.chunks(prices=True))
    rows = np.concatenate([chunk.row for chunk in chunks])
    opens = np.concatenate([chunk.numbers["open"] for chunk in chunks])
    assert len(chunks) > 1
    assert rows.tolist() == list(range(2, 31))
    assert opens[:-1].tolist() == [d + 1 for d in range(1, 29)]
    assert np.isnan(opens[-1])


def test_a_byte_order_mark_and_quotes_are_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(b'\xef\xbb\xbf"Symbol","Date",Open,High,Low,Close,Volume\na,2024-03-04,1,1,1,1,1\n')
    assert only_chunk(path).names == ["A"]


def test_a_share_of_a_stooq_export_has_the_same_symbol_by_its_column_and_by_its_file(tmp_path: Path) -> None:
    rows = "<DATE>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>", "20240304,1,1,1,1,1"
    write(tmp_path / "aapl.us.txt", [f"<TICKER>,<PER>,<TIME>,{rows[0]}", f"AAPL.US,D,000000,{rows[1]}"])
    write(tmp_path / "msft.us.txt", list(rows))
    files = open_bar_files(tmp_path, list_files(tmp_path))
    assert [chunk.names for file in files for chunk in file.chunks(prices=True)] == [["AAPL"], ["MSFT"]]
    other = write(tmp_path / "other.csv", [HEADER, bar("AAPL.US", "2024-03-04", 5)])
    assert only_chunk(other).names == ["AAPL.US"]


@pytest.mark.parametrize("bad", ["x", "null"])
def test_a_symbol_may_be_a_word_for_nothing_and_a_number_may_not(tmp_path: Path, bad: str) -> None:
    lines = [HEADER, bar("NA", "2024-01-02", 10.0), bar("null", "2024-01-02", 5.0), "", ",,,,,,"]
    lines += [f"NA,2024-01-03,{bad},11,9,10,1000"]
    chunk = only_chunk(write(tmp_path / "bars.csv", lines))
    assert [chunk.names[code] for code in chunk.code] == ["NA", "NULL", "NA"]
    assert np.isnan(chunk.numbers["open"]).tolist() == [False, False, True]


def test_a_quote_that_stays_open_costs_its_line_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_batches, "_BLOCK_BYTES", 128)
    rows = [bar("A", f"2024-01-{d:02d}", d) for d in range(1, 11)]
    rows[2] = '"' + rows[2]  # and the next line with a quote is four lines away
    rows[6] += '"'
    rows[8] = rows[8].replace("A", '"A"')
    file = BarFile(write(tmp_path / "p.csv", [HEADER, *rows]), "p.csv")
    lines = [line for chunk in file.chunks(prices=True) for line in chunk.row.tolist()]
    assert lines == [2, 3, 5, 6, 7, 9, 10, 11]
    assert file.broken == [(n, "a quote is opened and not closed") for n in (4, 8)]


def test_a_comma_within_the_quotes_of_a_header_separates_nothing(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.csv", [f'"Name, full",{HEADER}', f'"Krystal, Inc.",{bar("KRYS", "2024-01-02", 5)}']
    )
    assert only_chunk(path).names == ["KRYS"]


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_header_alone_is_a_file_without_rows(tmp_path: Path, end: str) -> None:
    (tmp_path / "p.csv").write_text(HEADER + end)
    assert list(BarFile(tmp_path / "p.csv", "p.csv").chunks(prices=True)) == []


def test_float32_columns_are_cast_plainly(tmp_path: Path) -> None:
    prices = {n: pa.array([np.float32(9.95)]) for n in ("open", "high", "low", "close")}
    table = pa.table({"symbol": ["A"], "date": ["2024-03-04"], **prices, "volume": pa.array([3])})
    pq.write_table(table, tmp_path / "p.parquet")
    chunk = only_chunk(tmp_path / "p.parquet")
    assert chunk.numbers["open"][0] == np.float64(np.float32(9.95))
    assert chunk.numbers["volume"].dtype == np.float64


def test_split_ratios_may_be_written_as_ratios(tmp_path: Path) -> None:
    lines = [HEADER + ",split", *(bar("A", f"2024-03-0{i}", 5) + f",{s}" for i, s in enumerate(
        ("2:1", "1/10", "", "1.5", "soon"), start=4))]  # fmt: skip
    splits = only_chunk(write(tmp_path / "p.csv", lines)).numbers["split"]
    assert splits.tolist() == [2.0, 0.1, 0.0, 1.5, np.inf]


def test_files_of_a_folder_are_named_by_symbol_also_below_it(tmp_path: Path) -> None:
    header = "Date,Open,High,Low,Close,Volume"
    for name in ("stooq/1/aapl.us.txt", "KRYS.csv", ".hidden.csv"):
        write(tmp_path / name, [header, "2024-03-04,1,1,1,1,1"])
    files = open_bar_files(tmp_path, list_files(tmp_path))
    assert [file.symbol for file in files] == ["KRYS", "AAPL"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("p.csv", b"", "empty"),
        ("p.csv", b"symbol;date;open\n", "semicolons"),
        ("p.csv", b"symbol,date\xff,open\n", "UTF-8"),
        ("p.parquet", b"PK\x03\x04 no parquet at all", "not a readable Parquet file"),
        ("p.parquet", b"", "not a readable Parquet file"),
        ("p.xlsx", b"x", r"expected a \.parquet or \.csv file"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_one_line(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=complaint) as error:
        open_bar_files(tmp_path / name, list_files(tmp_path / name))
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_reading_takes_the_memory_of_a_chunk_and_not_of_the_file(tmp_path: Path) -> None:
    n_groups, n_rows = 16, 60_000
    column = pa.array(np.random.default_rng(1).uniform(5, 6, n_rows))
    prices = dict.fromkeys(("open", "high", "low", "close", "volume"), column)
    dates = pa.array(np.repeat(np.datetime64("2024-03-04"), n_rows))
    table = pa.table({"symbol": pa.array(["A"] * n_rows), "date": dates, **prices})
    with pq.ParquetWriter(tmp_path / "p.parquet", table.schema) as writer:
        for _ in range(n_groups):
            writer.write_table(table)
    held = []
    before = pa.total_allocated_bytes()
    for chunk in BarFile(tmp_path / "p.parquet", "p").chunks(prices=True):
        held.append(pa.total_allocated_bytes() - before)
        del chunk
    assert len(held) > 4
    assert max(held) < 1.5 * held[0]  # pre_buffer=True would hold all that was read


def test_a_column_that_no_price_can_be_in_is_refused(tmp_path: Path) -> None:
    prices = {name: pa.array([5.0]) for name in ("open", "high", "low", "volume")}
    table = pa.table({"symbol": ["A"], "date": ["2024-03-04"], **prices, "close": pa.array([{"usd": 5.0}])})
    pq.write_table(table, tmp_path / "p.parquet")
    with pytest.raises(DataError, match=r"neither text, number nor date .*close struct<usd: double>"):
        only_chunk(tmp_path / "p.parquet")


def test_damage_within_a_parquet_file_is_the_files(tmp_path: Path) -> None:
    prices = {name: pa.array([5.0]) for name in ("open", "high", "low", "close", "volume")}
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"symbol": ["A"], "date": ["2024-03-04"], **prices}), path)
    content = path.read_bytes()
    path.write_bytes(content[:4] + b"\xff" * 64 + content[68:])
    with pytest.raises(DataError, match=r"p\.parquet: not a readable Parquet file"):
        list(BarFile(path, path.name).chunks(prices=True))


def test_a_file_that_a_folder_lists_and_nobody_can_read_is_not_left_out(tmp_path: Path) -> None:
    write(tmp_path / "A.csv", ["Date,Open,High,Low,Close,Volume", "2024-03-04,1,1,1,1,1"])
    (tmp_path / "B.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"B\.csv: cannot be read"):
        open_bar_files(tmp_path, list_files(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root lists every folder")
def test_a_folder_that_nobody_can_list_is_not_left_out(tmp_path: Path) -> None:
    write(tmp_path / "A.csv", ["Date,Open,High,Low,Close,Volume", "2024-03-04,1,1,1,1,1"])
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(DataError, match=r"closed: cannot be read \(Permission denied\)"):
        list_files(tmp_path)


def test_no_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        list_files(tmp_path / "none")
    with pytest.raises(DataError, match=r"no \.parquet or \.csv file in this folder"):
        list_files(tmp_path)


def test_files_of_different_bases_do_not_mix(tmp_path: Path) -> None:
    write(tmp_path / "A.csv", ["Date,Open,High,Low,Close,Volume", "2024-03-04,1,1,1,1,1"])
    write(tmp_path / "B.csv", ["Date,Open,High,Low,Close,Volume,Split", "2024-03-04,1,1,1,1,1,1"])
    with pytest.raises(DataError, match=r"B\.csv: prices are of basis raw, those of A\.csv of basis plain"):
        open_bar_files(tmp_path, list_files(tmp_path))
