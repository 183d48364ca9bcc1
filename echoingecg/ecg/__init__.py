"""Stage ecg (reads catalog): recordings of any accepted format become filtered 12-lead signals, 100 Hz, mV.

Folders, uppermost first: decode.
"""

CODE_VERSION = 3  # raise when the same file and settings give other numbers
