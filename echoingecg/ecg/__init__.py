"""Stage ecg: recordings of any accepted format as filtered 12-lead signals, 100 Hz, mV."""

from typing import Final

CODE_VERSION = 3  # raise when the same file and settings give other numbers
