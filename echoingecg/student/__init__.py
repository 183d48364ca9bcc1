"""The student: a probabilistic ECG encoder and a text encoder, trained against the frozen teacher."""

from typing import Final

# Raised by hand when the same inputs would give other weights.
CODE_VERSION = 3
