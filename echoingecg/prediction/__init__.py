"""A trained student in use: ECG files in, echo findings with uncertainty out."""
