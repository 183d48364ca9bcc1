"""Protocols and models as the tables name them."""

from typing import Final

STUDENT: Final = "student"  # the model under test

ZERO_SHOT: Final = "zero_shot"
RANKED: Final = "ranked"
LINEAR_PROBE: Final = "linear_probe"
RIDGE: Final = "ridge"
ECG_MEASUREMENTS: Final = "ecg_measurements"
TRAINING_MEAN: Final = "training_mean"

# Spaces of the two prompted protocols, as suffixes.
TEACHER: Final = "_teacher"
CENTRED: Final = "_centred"
ZERO_SHOT_TEACHER: Final = ZERO_SHOT + TEACHER


def at_model(protocol: str, model: str) -> str:
    """`linear_probe@MODEL`; the student under test is not named."""
    return protocol if model == STUDENT else f"{protocol}@{model}"
