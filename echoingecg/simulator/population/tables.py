"""The CSV tables of an export, and the identifiers, dates and paths in them, in the ranges of MIMIC-IV.

Identifiers follow from a patient's index, not from the number of patients.
"""

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from echoingecg.simulator.population.patient import Heart

_MISSING_NUMBER = 29999  # as in MIMIC-IV-ECG
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
_STATE = (*(field.name for field in fields(Heart)), *_DERIVED)
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


MAX_PATIENTS = 2_000_000
ECGS_PER_PATIENT = 4  # at most
_STRIDE = 6_180_339  # scatters indices; any number that is no multiple of the primes below
# First number and prime of each range: multiplication modulo a prime repeats no number.
_SUBJECTS = (10_000_000, 9_999_973)
_ECGS = (40_000_000, 9_999_937)
_ECHOES = (90_000_000, 9_999_937)

REAL_SUBJECT = 19_999_999  # outside the ranges above, as are the next two
REAL_ECG = 49_999_999
REAL_ECHO = 99_999_999

_FIRST_DATE = datetime(2150, 1, 1)
_DATE_RANGE_MINUTES = 50 * 365 * 24 * 60


@dataclass(frozen=True)
class Rows:
    """Rows of one patient, each with the name of its table."""

    rows: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def add(self, table: str, **row: Any) -> None:
        """Adds one row. Missing columns stay empty, or become 29999 where MIMIC-IV-ECG writes that."""
        assert not row.keys() - set(_COLUMNS[table]), row
        missing = dict.fromkeys(_MACHINE_NUMBERS, _MISSING_NUMBER) if table == MACHINE else {}
        self.rows.append((table, missing | row))

    def add_statements(self, statements: list[str], row: Mapping[str, Any]) -> None:
        """Adds a row of machine measurements, with the statements in report_0, report_1, ..."""
        self.add(MACHINE, **dict(zip(_STATEMENTS, statements, strict=False)), **row)

    def add_truth(self, subject: int, heart: Heart) -> None:
        """Adds the state of a heart, and the values derived from it."""
        self.add(TRUTH, subject_id=subject, **{name: getattr(heart, name) for name in _STATE})


@contextmanager
def open_tables(folder: Path) -> Iterator[Callable[[Rows], None]]:
    """Creates all tables below `folder` (UTF-8, Unix line ends), and closes them at the end.

    Yields:
        a function that appends a patient's rows.

    Raises:
        OSError: the disk cannot take them.
    """
    with ExitStack() as stack:
        writers = {}
        for name, columns in _COLUMNS.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("w", newline="", encoding="utf-8"))
            writers[name] = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writers[name].writeheader()

        def write(rows: Rows) -> None:
            for table, row in rows.rows:
                writers[table].writerow(row)

        yield write


def subject_id(patient: int) -> int:
    return _scatter(patient, *_SUBJECTS)


def ecg_id(patient: int, number: int) -> int:
    assert number < ECGS_PER_PATIENT
    return _scatter(patient * ECGS_PER_PATIENT + number, *_ECGS)


def echo_id(patient: int) -> int:
    return _scatter(patient, *_ECHOES)


def random_time(rng: np.random.Generator) -> datetime:
    """Draws a minute of the fifty years from 2150 on: de-identified archives shift their dates like this."""
    return _FIRST_DATE + timedelta(minutes=int(rng.integers(_DATE_RANGE_MINUTES)))


def mimic_time(moment: datetime) -> str:
    """Formats a date and time as MIMIC-IV does."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def ecg_path(subject: int, study: int) -> str:
    """Path of a record, relative to mimic-iv-ecg, without extension."""
    return f"files/p{subject // 10_000}/p{subject}/s{study}/{study}"


def echo_path(subject: int, study: int, instance: int) -> str:
    """Path of a clip, relative to mimic-iv-echo."""
    return f"files/p{subject // 1_000_000}/p{subject}/s{study}/{study}_{instance:04d}.dcm"


def _scatter(number: int, base: int, prime: int) -> int:
    return base + (number * _STRIDE + 32) % prime
