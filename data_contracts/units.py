"""Converts values between the units that echo measurements are exported in, by one table of factors.

Units of one group differ by a factor alone. Unknown units, and pairs of different groups, have no conversion: nothing
is guessed. Names of units are compared without blanks and case, except that `M` is not metre (`m`).
"""

from collections.abc import Mapping

# Each group: unit -> factor to the group's first unit.
_GROUPS: tuple[Mapping[str, float], ...] = (
    {"mm": 1.0, "cm": 10.0, "m": 1000.0},
    {"cm/s": 1.0, "cm/sec": 1.0, "m/s": 100.0, "m/sec": 100.0, "mm/s": 0.1},
    {"%": 1.0, "percent": 1.0},
    {"mmhg": 1.0},
    {"ml": 1.0, "cc": 1.0, "cm3": 1.0, "l": 1000.0},
    {"ml/m2": 1.0, "cc/m2": 1.0},
    {"mm2": 1.0, "cm2": 100.0},
    {"mm/m2": 1.0, "cm/m2": 10.0},
    {"g": 1.0, "kg": 1000.0},
    {"g/m2": 1.0},
    {"ms": 1.0, "msec": 1.0, "s": 1000.0, "sec": 1000.0},
    {"bpm": 1.0, "1/min": 1.0, "/min": 1.0},
)
_FACTOR = {unit: (group, factor) for group, units in enumerate(_GROUPS) for unit, factor in units.items()}
_NOT_METRE = "M"


def factor(unit: str, to_unit: str) -> float | None:
    """Returns what a value in `unit` is multiplied by to be in `to_unit`; None where the table has no such pair.

    A unit that the table does not know converts to itself alone, and an empty one to nothing but an empty one.
    """
    if unit.strip() == to_unit.strip():
        return 1.0
    source, target = _FACTOR.get(_plain(unit)), _FACTOR.get(_plain(to_unit))
    if source is None or target is None or source[0] != target[0]:
        return None
    return source[1] / target[1]


def convert(value: float, unit: str, to_unit: str) -> float | None:
    """Returns a value in another unit; None where the table has no such pair of units.

    Args:
        value: in `unit`.
        unit: as the export names it.
        to_unit: as the recipe names it.
    """
    found_factor = factor(unit, to_unit)
    return None if found_factor is None else _rounded(value * found_factor)


def _plain(unit: str) -> str:
    text = "".join(unit.split()).replace("²", "2").replace("³", "3").replace("^", "")
    return text if text == _NOT_METRE else text.lower()


def _rounded(value: float) -> float:
    """Rounds to 12 significant digits, so that 1.1 cm is 11 mm and not 11.000000000000002 mm."""
    return float(f"{value:.12g}")
