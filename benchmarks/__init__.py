"""Timings as ratios against a plain route, measured in one run: `make bench`."""
