"""What a run leaves behind: tables, metrics, files."""
