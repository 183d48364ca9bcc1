"""Units that the recipe states about an export's ECGs, where the release alone does not settle them."""

import pandas as pd

from echoingecg.catalog.layouts import base
from echoingecg.common import ExportError, Refusal
from echoingecg.ecg.decode.arrays.standardised import UNIT, unit_of
from echoingecg.ecg.decode.recording.units import multiples_per_millivolt
from echoingecg.recipe import CatalogSettings

_HOW = "docs/howto/public_cohorts.md"


def with_stated_units(ecgs: pd.DataFrame, layout: base.Layout, settings: CatalogSettings) -> pd.DataFrame:
    """Returns the ECGs with the unit that the recipe states, and with the constants of standardised ones.

    Args:
        ecgs: base.ECG_COLUMNS.
        layout: of the export.
        settings: `array_unit` and `standardised`.

    Raises:
        ExportError: the layout settles its units; a unit is none; or constants are missing.
    """
    if unit := settings.array_unit:
        if not layout.is_unit_open:
            raise ExportError(f"catalog.array_unit: the layout {layout.name} states its units itself: leave it empty")
        _check("catalog.array_unit", unit)
        ecgs = ecgs.assign(unit=unit)
    is_standardised = ecgs["unit"] == UNIT
    if not is_standardised.any():
        return ecgs
    constants = settings.standardised
    if constants is None:
        raise ExportError(
            f"{layout.name}: {int(is_standardised.sum())} ECGs are standardised and have no amplitude unit: state the "
            f"publisher's constants as catalog.standardised in the recipe: {_HOW}"
        )
    _check("catalog.standardised.unit", constants.unit)
    text = unit_of(constants.mean, constants.scale, constants.unit)
    return ecgs.assign(unit=ecgs["unit"].where(~is_standardised, text))


def _check(field: str, unit: str) -> None:
    try:
        multiples_per_millivolt(unit)
    except Refusal as refusal:
        raise ExportError(f"{field}: {refusal.detail}") from refusal
