"""The command line and the worked examples."""
