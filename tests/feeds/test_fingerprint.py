"""Fingerprints of sources."""

import os
from pathlib import Path

import pytest

from engine.errors import DataError
from feeds import fingerprint
from feeds.fingerprint import source_hash


def test_content_order_and_names_count(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("1")
    b.write_text("2")
    index = tmp_path / "index"
    hashes = {
        source_hash([("a", a), ("b", b)], index), source_hash([("b", b), ("a", a)], index),
        source_hash([("a", a)], index), source_hash([("x", a)], index),
    }  # fmt: skip
    assert len(hashes) == 4
    assert source_hash([("a", a)], index) in hashes
    assert not index.exists()


def test_a_large_file_is_read_once_and_again_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_DIRECT_MAX", 3)
    monkeypatch.setattr(fingerprint, "_REST_NS", -(10**12))  # as if the file had been at rest for long
    path, index = tmp_path / "a", tmp_path / "index"
    path.write_text("12345")
    first = source_hash([("a", path)], index)
    (entry,) = index.iterdir()
    entry.write_text("f" * 64)  # so that a look-up shows
    assert source_hash([("a", path)], index) == "f" * 64
    times = path.stat()
    path.write_text("54321")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # same size, same mtime
    assert source_hash([("a", path)], index) not in (first, "f" * 64)


def test_a_file_that_changed_a_moment_ago_is_not_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_DIRECT_MAX", 3)
    path, index = tmp_path / "a", tmp_path / "index"
    path.write_text("12345")
    first = source_hash([("a", path)], index)
    (entry,) = index.iterdir()
    entry.write_text("f" * 64)
    assert source_hash([("a", path)], index) == first


def test_a_huge_file_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_FULL_MAX", 10)
    monkeypatch.setattr(fingerprint, "_BLOCK", 4)
    path = tmp_path / "a"
    path.write_bytes(bytes(1000))
    first = source_hash([("a", path)], tmp_path / "index")
    path.write_bytes(bytes(999) + b"1")
    assert source_hash([("a", path)], tmp_path / "index") != first


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^a: cannot be read \(No such file"):
        source_hash([("a", tmp_path / "none")], tmp_path)
