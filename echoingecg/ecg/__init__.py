"""Stage ecg (reads catalog): an ECG file of any accepted format becomes a filtered 12-lead signal, 100 Hz, mV.

Folders, uppermost first: decode.
"""

CODE_VERSION = 7  # raise when the same file and settings give other numbers
EQUAL_SIGNALS = frozenset({3, 4, 5, 6, 7})  # code versions that differ in findings alone; others give other signals
