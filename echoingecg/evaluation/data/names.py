"""Protocols and models as the tables name them, and a protocol that could not run."""

from dataclasses import dataclass

STUDENT = "student"  # the model under test

ZERO_SHOT = "zero_shot"
RANKED = "ranked"
EXPECTED_ECHO = "expected_echo"  # what the echo would get by zero-shot, predicted from the ECG
EXPECTED_NUMBER = "expected_number"  # what the echo would measure, predicted from the ECG, with an interval
LINEAR_PROBE = "linear_probe"
RIDGE = "ridge"
ECG_MEASUREMENTS = "ecg_measurements"
TRAINING_MEAN = "training_mean"

# Suffixes of the prompted protocols: the space in which ECGs and sentences are compared.
TEACHER = "_teacher"
CENTRED = "_centred"
ZERO_SHOT_TEACHER = ZERO_SHOT + TEACHER


def at_model(protocol: str, model: str) -> str:
    """Name of a protocol with a model: `linear_probe@MODEL`, or `linear_probe` for the student under test."""
    return protocol if model == STUDENT else f"{protocol}@{model}"


@dataclass(frozen=True)
class Skipped:
    """A protocol that could not run; `reason` is a phrase for the report."""

    reason: str
