"""Sources of bars and fundamentals."""
