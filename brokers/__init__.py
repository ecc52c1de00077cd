"""Execution: the simulated broker and its costs."""
