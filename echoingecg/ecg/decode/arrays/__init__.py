"""Numbers that name neither leads, unit nor rate: arrays and tables of one ECG, and files that hold thousands."""
