"""Amplitude units, by the names that files give them: read, never guessed."""

import re
from math import isfinite

from echoingecg.common import Refusal

# Spellings seen in WFDB and EDF headers, the UCUM codes of DICOM and aECG, the words of GE MUSE; compared
# without regard to case: mega- and gigavolts do not occur in an ECG.
_PER_MILLIVOLT = {
    "v": 1e-3, "mv": 1.0, "uv": 1e3, "µv": 1e3, "μv": 1e3, "nv": 1e6,
    "volt": 1e-3, "millivolt": 1.0, "microvolt": 1e3, "nanovolt": 1e6,
    "volts": 1e-3, "millivolts": 1.0, "microvolts": 1e3, "nanovolts": 1e6,
}  # fmt: skip

# A unit that an export states may be a multiple: "0.1 mV", "4.88 uV".
_MULTIPLE = re.compile(r"\s*(?P<factor>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*(?P<unit>[^\d\s]\S*)\s*")


def multiples_per_millivolt(spelling: str) -> float:
    """How many of a unit, or of a multiple of it, make one millivolt: 10 for `0.1 mV`.

    Raises:
        Refusal: see `units_per_millivolt`; unknown_units for a multiple of 0.
    """
    match = _MULTIPLE.fullmatch(spelling)
    if match is None:
        return units_per_millivolt(spelling)
    factor = float(match["factor"])
    if not isfinite(factor) or factor == 0:
        raise Refusal("unknown_units", "a unit of no size")
    return units_per_millivolt(match["unit"]) / factor


def units_per_millivolt(spelling: str) -> float:
    """How many of the unit make one millivolt, for example 1000 for `uV`.

    Raises:
        Refusal: missing_units for an empty spelling, unknown_units for a unit that is not of volts.
    """
    plain = spelling.strip().lower()
    if not plain:
        raise Refusal("missing_units", "the amplitude unit is not stated")
    if plain not in _PER_MILLIVOLT:
        raise Refusal("unknown_units", "the amplitude unit is not V, mV, uV or nV")
    return _PER_MILLIVOLT[plain]
