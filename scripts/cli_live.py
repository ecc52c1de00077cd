"""Commands about the live monitor, its alerts and its streams."""

from __future__ import annotations
