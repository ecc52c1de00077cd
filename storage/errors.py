"""What goes wrong between the program and its database."""

from __future__ import annotations

from engine.errors import SmallcapError


class StorageError(SmallcapError):
    """The database cannot be reached, read or written."""
