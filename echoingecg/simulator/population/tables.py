"""The CSV tables of an export: named columns, and rows written as patients come.

Identifiers and shifted dates in MIMIC-IV's ranges; they depend on a patient's index, not on how many there are.
"""

import csv
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from echoingecg.simulator.population.patient import Heart

_NOT_KNOWN = 29999  # MIMIC-IV-ECG's mark of a missing number
_STATEMENTS = tuple(f"report_{number}" for number in range(18))

RECORDS = "mimic-iv-ecg/record_list.csv"
MACHINE = "mimic-iv-ecg/machine_measurements.csv"
CLIPS = "mimic-iv-echo/echo-record-list.csv"
STUDIES = "mimic-iv-echo/echo-study-list.csv"
MEASUREMENTS = "mimic-iv-echo/structured_measurement.csv"
NOTES = "mimic-iv-echo/echo_notes.csv"
TRUTH = "simulated_truth.csv"

_MACHINE_NUMBERS = (
    "rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end", "p_axis", "qrs_axis", "t_axis",
)  # fmt: skip
_DERIVED = (
    "t_polarity", "body_surface_area", "lv_end_diastolic_volume", "left_bundle_branch_block",
    "right_bundle_branch_block",
)  # fmt: skip
_STATE = (*(one.name for one in fields(Heart)), *_DERIVED)
_COLUMNS: dict[str, tuple[str, ...]] = {
    RECORDS: ("subject_id", "study_id", "file_name", "ecg_time", "path"),
    MACHINE: ("subject_id", "study_id", "cart_id", "ecg_time", *_STATEMENTS, "bandwidth", "filtering",
              *_MACHINE_NUMBERS),
    CLIPS: ("subject_id", "study_id", "acquisition_datetime", "dicom_filepath"),
    STUDIES: ("subject_id", "study_id", "study_datetime", "note_id", "note_seq", "note_charttime"),
    MEASUREMENTS: ("subject_id", "measurement_id", "measurement_datetime", "test_type", "measurement",
                   "measurement_description", "result", "unit"),
    NOTES: ("note_id", "subject_id", "note_type", "note_seq", "charttime", "text"),
    TRUTH: ("subject_id", *_STATE),
}  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Rows of one patient, each with its table."""

    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def add(self, table: str, **row: Any) -> None:
        """Adds one row; a column that is left out stays empty, or 29999 where MIMIC-IV-ECG marks it so."""
        assert not row.keys() - set(_COLUMNS[table]), row
        missing = dict.fromkeys(_MACHINE_NUMBERS, _NOT_KNOWN) if table == MACHINE else {}
        self.rows.append((table, missing | row))

    def add_statements(self, statements: list[str], row: Mapping[str, Any]) -> None:
        """Adds a row of machine measurements with its statements in report_0, report_1, ..."""
        self.add(MACHINE, **dict(zip(_STATEMENTS, statements, strict=False)), **row)

    def add_truth(self, subject: int, heart: Heart) -> None:
        """Adds the state of a heart, and what follows from it."""
        self.add(TRUTH, subject_id=subject, **{name: getattr(heart, name) for name in _STATE})


class Tables:
    """Open files of every table; nothing is kept of the rows written."""

    def __init__(self, writers: dict[str, "csv.DictWriter[str]"]) -> None:
        self._writers = writers

    def write(self, rows: Rows) -> None:
        """Appends a patient's rows. Raises OSError."""
        for table, row in rows.rows:
            self._writers[table].writerow(row)


@contextmanager
def open_tables(folder: Path) -> Iterator[Tables]:
    """Creates all tables under `folder`, UTF-8, with Unix line ends, and closes them at the end. Raises OSError."""
    with ExitStack() as stack:
        writers = {}
        for name, columns in _COLUMNS.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("w", newline="", encoding="utf-8"))
            writers[name] = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writers[name].writeheader()
        yield Tables(writers)


MAX_PATIENTS = 2_000_000
ECGS_PER_PATIENT = 4  # at most
_STRIDE = 6_180_339  # scatters indices; any number that the primes below do not divide
# Primes: multiplication modulo a prime repeats no number.
_SUBJECTS = (10_000_000, 9_999_973)
_ECGS = (40_000_000, 9_999_937)
_ECHOES = (90_000_000, 9_999_937)

REAL_SUBJECT = 19_999_999  # outside the ranges above, as are the next two
REAL_ECG = 49_999_999
REAL_ECHO = 99_999_999

_FIRST_DATE = datetime(2150, 1, 1)
_MINUTES = 50 * 365 * 24 * 60


def subject_id(patient: int) -> int:
    return _scatter(patient, *_SUBJECTS)


def ecg_id(patient: int, number: int) -> int:
    assert number < ECGS_PER_PATIENT
    return _scatter(patient * ECGS_PER_PATIENT + number, *_ECGS)


def echo_id(patient: int) -> int:
    return _scatter(patient, *_ECHOES)


def random_time(rng: np.random.Generator) -> datetime:
    """A minute in the fifty years from 2150 on, as de-identified archives shift theirs."""
    return _FIRST_DATE + timedelta(minutes=int(rng.integers(_MINUTES)))


def mimic_time(moment: datetime) -> str:
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
