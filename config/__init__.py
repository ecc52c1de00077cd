"""Typed settings and their loader."""

from config.errors import SettingsError
from config.loader import Loaded, load_settings, load_with_provenance
from config.secret import Secret
from config.settings import Settings, settings_as_dict

__all__ = [
    "Loaded",
    "Secret",
    "Settings",
    "SettingsError",
    "load_settings",
    "load_with_provenance",
    "settings_as_dict",
]
