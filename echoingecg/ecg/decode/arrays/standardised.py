"""Amplitudes that a publisher has standardised, turned back into millivolts by the publisher's constants.

A stored value is (x - mean) / scale, lead by lead, with x, mean and scale in one unit. The constants stand in the
recipe, and travel as a unit of their own in the catalog: `standardised mean=5.4;4.4 scale=32.4;31.4 unit=4.88 uV`.
"""

import re
from collections.abc import Sequence

import numpy as np

from data_contracts.conventions import LEADS
from echoingecg.common import Refusal
from echoingecg.ecg.decode.recording import Recording, arrange, limb_lead_error, multiples_per_millivolt

UNIT = "standardised"  # what an export states, without constants

_TEXT = re.compile(rf"{UNIT} mean=(?P<mean>\S+) scale=(?P<scale>\S+) unit=(?P<unit>.+)")
# Of the limb leads' root mean square. Of 56 real ECGs, median-filtered and clipped lead by lead as EchoNext's publisher
# does, the largest has 0.38; with two limb leads exchanged the smallest has 0.50. One scale for all leads is not seen.
_MOST_LIMB_ERROR = 0.45


def unit_of(mean: Sequence[float], scale: Sequence[float], unit: str) -> str:
    """Returns the text of a unit with constants.

    Args:
        mean, scale: one number, or one for each lead in stored order, in `unit`.
        unit: an amplitude unit, or a multiple of one.

    Raises:
        Refusal: unknown_units for another unit.
    """
    multiples_per_millivolt(unit)
    lists = (";".join(repr(float(number)) for number in numbers) for numbers in (mean, scale))
    return "{} mean={} scale={} unit={}".format(UNIT, *lists, unit.strip())


def is_standardised(unit: str | None) -> bool:
    """Returns whether a stated unit is one of standardised values, with or without constants."""
    return unit is not None and unit.strip().split(" ")[0] == UNIT


def turned_back(stored: np.ndarray, unit: str) -> np.ndarray:
    """Returns amplitudes in mV.

    Args:
        stored: float64 (lead, time).
        unit: of `unit_of`.

    Raises:
        Refusal: missing_units without constants, or with another number of them than there are leads.
    """
    match = _TEXT.fullmatch(unit.strip())
    if match is None:
        raise Refusal("missing_units", "standardised amplitudes, and the recipe has no catalog.standardised")
    mean, scale = (np.array([float(text) for text in match[name].split(";")]) for name in ("mean", "scale"))
    for numbers in (mean, scale):
        if len(numbers) not in (1, len(stored)):
            raise Refusal("missing_units", f"{len(numbers)} constants of catalog.standardised for {len(stored)} leads")
    return (stored * scale[:, None] + mean[:, None]) / multiples_per_millivolt(match["unit"])


def check_limb_leads(recording: Recording) -> None:
    """Looks whether the limb leads follow from one another: with wrong constants or in another order they do not.

    Raises:
        Refusal: missing_leads when they do not, or when a lead is absent.
    """
    signal = arrange(recording)
    signal = signal - np.nanmean(signal, axis=1, keepdims=True)
    _, share = limb_lead_error(np.nan_to_num(signal))
    if share > _MOST_LIMB_ERROR:
        raise Refusal(
            "missing_leads",
            f"turned back, {LEADS[2]} is not II - I, or aVR, aVL, aVF do not follow from I and II (error {share:.0%}): "
            "the constants of catalog.standardised or the order of the leads is wrong",
        )
