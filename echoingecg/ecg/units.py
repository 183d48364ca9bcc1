"""Amplitude units: read, never guessed."""

from typing import Final

from echoingecg.common.errors import Refusal

# Spellings met in WFDB and EDF headers, the UCUM codes of DICOM and aECG, the words of GE MUSE; compared
# without regard to case: mega- and gigavolts do not occur in an ECG.
_PER_MILLIVOLT: Final = {
    "v": 1e-3, "mv": 1.0, "uv": 1e3, "µv": 1e3, "μv": 1e3, "nv": 1e6,
    "volt": 1e-3, "millivolt": 1.0, "microvolt": 1e3, "nanovolt": 1e6,
    "volts": 1e-3, "millivolts": 1.0, "microvolts": 1e3, "nanovolts": 1e6,
}  # fmt: skip


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
