"""Strategies, their registry and their base classes."""
