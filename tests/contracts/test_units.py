"""Units of echo measurements: what converts, and what never does."""

import pytest

from data_contracts.units import convert, factor


@pytest.mark.parametrize(
    ("value", "unit", "to_unit", "expected"),
    [
        (1.1, "cm", "mm", 11.0),
        (15.0, "mm", "cm", 1.5),
        (0.048, "m", "mm", 48.0),
        (2.4, "m/s", "cm/s", 240.0),
        (240.0, "cm/sec", "m/s", 2.4),
        (55.0, "%", "%", 55.0),
        (26.0, "mmHg", "mm Hg", 26.0),
        (120.0, "mL", "ml", 120.0),
        (0.12, "L", "mL", 120.0),
        (34.0, "mL/m²", "ml/m2", 34.0),
        (1.5, "cm^2", "mm2", 150.0),
        (0.2, "s", "ms", 200.0),
        (3.0, "Wood", "Wood", 3.0),
        (3.0, "", "", 3.0),
    ],
)
def test_values_in_another_unit(value: float, unit: str, to_unit: str, expected: float) -> None:
    assert convert(value, unit, to_unit) == expected


@pytest.mark.parametrize(
    ("unit", "to_unit"),
    [("", "mm"), ("mm", ""), ("cm", "%"), ("ml", "ml/m2"), ("m/s", "m"), ("M", "mm"), ("mmHg", "mm"), ("inch", "mm")],
)
def test_other_pairs_are_not_guessed(unit: str, to_unit: str) -> None:
    assert convert(1.0, unit, to_unit) is None
    assert factor(unit, to_unit) is None
