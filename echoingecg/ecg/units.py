"""Amplitude units: read, never guessed."""

from typing import Final

from echoingecg.errors import Refusal

# Spellings met in WFDB headers and the UCUM codes of DICOM, compared without regard to case: mega- and
# gigavolts do not occur in an ECG.
_PER_MILLIVOLT: Final = {"v": 1e-3, "mv": 1.0, "uv": 1e3, "µv": 1e3, "μv": 1e3, "nv": 1e6}


def units_per_millivolt(spelling: str) -> float:
    """How many of the unit make one millivolt, for example 1000 for `uV`.

    Raises:
        Refusal: missing_units for an empty spelling, unknown_units for one that is not of volts.
    """
    plain = spelling.strip().lower()
    if not plain:
        raise Refusal("missing_units", "the amplitude unit is not stated")
    if plain not in _PER_MILLIVOLT:
        raise Refusal("unknown_units", "the amplitude unit is not V, mV, uV or nV")
    return _PER_MILLIVOLT[plain]
