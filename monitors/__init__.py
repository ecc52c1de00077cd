"""The live monitor: alerts, their delivery, the streams and the daemon."""
