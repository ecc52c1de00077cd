"""Speed, measured against peers on the same work."""
