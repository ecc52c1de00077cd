"""What outlives a run: the database."""
