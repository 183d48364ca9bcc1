"""Simulated ECGs: heart vector, leads, rhythm, faults, WFDB files."""
