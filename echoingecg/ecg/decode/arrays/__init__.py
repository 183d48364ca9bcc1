"""Numbers that name neither leads, unit nor rate: arrays of one ECG, and files that hold thousands."""
