"""What runs, in which order; the command line."""
