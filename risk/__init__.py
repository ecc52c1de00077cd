"""Sizing, limits and the gate."""
