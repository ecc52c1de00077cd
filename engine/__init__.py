"""The event loop and what it is made of."""
