"""Units of echo measurements: which are the same, and which are converted into each other by a factor."""

_KINDS: tuple[dict[str, float], ...] = (
    {"m": 1.0, "cm": 1e-2, "mm": 1e-3},
    {"m/s": 1.0, "cm/s": 1e-2, "mm/s": 1e-3},
    {"l": 1.0, "ml": 1e-3, "cc": 1e-3, "cm3": 1e-3},
    {"l/m2": 1.0, "ml/m2": 1e-3},
    {"cm/m2": 1e-2, "mm/m2": 1e-3},
    {"m2": 1.0, "cm2": 1e-4},
    {"cm2/m2": 1.0},
    {"kg": 1e3, "g": 1.0},
    {"g/m2": 1.0},
    {"mmhg": 1.0},
    {"s": 1.0, "ms": 1e-3},
    {"%": 1.0},
    {"bpm": 1.0, "1/min": 1.0, "/min": 1.0},
    {"": 1.0},
)
_FACTORS = {unit: (kind, factor) for kind, units in enumerate(_KINDS) for unit, factor in units.items()}
_DIGITS = 12  # significant: 1.1 cm are 11 mm, not 11.000000000000002


def convert(value: float, unit: str, to_unit: str) -> float | None:
    """Converts a value to another unit of the same kind.

    Capitals, blanks, superscripts and `^` do not matter. A share is no percentage: a value without a unit is not
    converted to per cent.

    Args:
        value: in `unit`.
        unit: as an export writes it.
        to_unit: as a recipe writes it.

    Returns:
        None for units of different kinds, and for units unknown here that are not equal.
    """
    stated, wanted = _plain(unit), _plain(to_unit)
    if stated == wanted:
        return value
    if stated not in _FACTORS or wanted not in _FACTORS or _FACTORS[stated][0] != _FACTORS[wanted][0]:
        return None
    return float(f"{value * _FACTORS[stated][1] / _FACTORS[wanted][1]:.{_DIGITS}g}")


def _plain(unit: str) -> str:
    return "".join(unit.split()).casefold().replace("²", "2").replace("³", "3").replace("^", "")
