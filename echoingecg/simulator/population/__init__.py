"""The patients: the state of each heart, which shapes both ECG and echo, and the tables of the export."""
