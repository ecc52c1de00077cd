"""Which names: constituents, screening, fundamentals refresh, momentum."""
