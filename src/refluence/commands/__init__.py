"""One file a command: what the command line calls."""
