"""What tests of the monitors have in common."""

from __future__ import annotations

import pytest


@pytest.fixture
def file(tmp_path):
    """Write a file, and return its path."""

    def write(text, name="file.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write
