"""Identifiers and shifted dates in MIMIC-IV's ranges; they depend on a patient's index, not on how many there are."""

from datetime import datetime, timedelta
from typing import Final

import numpy as np

MAX_PATIENTS: Final = 2_000_000
ECGS_PER_PATIENT: Final = 4  # at most
_STRIDE: Final = 6_180_339  # scatters indices; any number that the primes below do not divide
# Primes: multiplication modulo a prime repeats no number.
_SUBJECTS: Final = (10_000_000, 9_999_973)
_ECGS: Final = (40_000_000, 9_999_937)
_ECHOES: Final = (90_000_000, 9_999_937)

REAL_SUBJECT: Final = 19_999_999  # outside the ranges above, as are the next two
REAL_ECG: Final = 49_999_999
REAL_ECHO: Final = 99_999_999

_FIRST_DATE: Final = datetime(2150, 1, 1)
_MINUTES: Final = 50 * 365 * 24 * 60


def subject_id(patient: int) -> int:
    return _scatter(patient, *_SUBJECTS)


def ecg_id(patient: int, number: int) -> int:
    assert number < ECGS_PER_PATIENT
    return _scatter(patient * ECGS_PER_PATIENT + number, *_ECGS)


def echo_id(patient: int) -> int:
    return _scatter(patient, *_ECHOES)


def random_date(rng: np.random.Generator) -> datetime:
    """A minute in the fifty years from 2150 on, as de-identified archives shift theirs."""
    return _FIRST_DATE + timedelta(minutes=int(rng.integers(_MINUTES)))


def stamp(moment: datetime) -> str:
    """A date and time as MIMIC-IV writes it."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def ecg_path(subject: int, study: int) -> str:
    """Relative to mimic-iv-ecg, without extension."""
    return f"files/p{subject // 10_000}/p{subject}/s{study}/{study}"


def echo_path(subject: int, study: int, instance: int) -> str:
    """Relative to mimic-iv-echo."""
    return f"files/p{subject // 1_000_000}/p{subject}/s{study}/{study}_{instance:04d}.dcm"


def _scatter(number: int, base: int, prime: int) -> int:
    return base + (number * _STRIDE + 32) % prime
