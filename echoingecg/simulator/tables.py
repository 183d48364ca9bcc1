"""The CSV tables of an export: named columns, rows collected patient by patient, written at the end."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_NOT_KNOWN: Final = 29999  # MIMIC-IV-ECG's mark of a missing number
_STATEMENTS: Final = tuple(f"report_{number}" for number in range(18))

RECORDS: Final = "mimic-iv-ecg/record_list.csv"
MACHINE: Final = "mimic-iv-ecg/machine_measurements.csv"
CLIPS: Final = "mimic-iv-echo/echo-record-list.csv"
STUDIES: Final = "mimic-iv-echo/echo-study-list.csv"
MEASUREMENTS: Final = "mimic-iv-echo/structured_measurement.csv"
NOTES: Final = "mimic-iv-echo/echo_notes.csv"
TRUTH: Final = "simulated_truth.csv"

_MACHINE_NUMBERS: Final = (
    "rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end", "p_axis", "qrs_axis", "t_axis",
)  # fmt: skip
_COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    RECORDS: ("subject_id", "study_id", "file_name", "ecg_time", "path"),
    MACHINE: ("subject_id", "study_id", "cart_id", "ecg_time", *_STATEMENTS, "bandwidth", "filtering",
              *_MACHINE_NUMBERS),
    CLIPS: ("subject_id", "study_id", "acquisition_datetime", "dicom_filepath"),
    STUDIES: ("subject_id", "study_id", "study_datetime", "note_id", "note_seq", "note_charttime"),
    MEASUREMENTS: ("subject_id", "measurement_id", "measurement_datetime", "test_type", "measurement",
                   "measurement_description", "result", "unit"),
    NOTES: ("note_id", "subject_id", "note_type", "note_seq", "charttime", "text"),
    TRUTH: ("subject_id", "age", "sex", "lvef", "lv_end_diastolic_diameter", "septal_wall_thickness", "heart_rate",
            "rhythm", "left_bundle_branch_block", "pr_interval", "qrs_duration", "qt_corrected", "qrs_axis",
            "qrs_voltage", "t_amplitude", "t_polarity", "image_quality", "ecg_noise"),
}  # fmt: skip


class Tables:
    """Rows of every table of one export."""

    def __init__(self) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in _COLUMNS}

    def add(self, table: str, **row: Any) -> None:
        """Adds one row; a column that is left out stays empty, or 29999 where MIMIC-IV-ECG marks it so."""
        assert not row.keys() - set(_COLUMNS[table]), row
        missing = dict.fromkeys(_MACHINE_NUMBERS, _NOT_KNOWN) if table == MACHINE else {}
        self._rows[table].append(missing | row)

    def add_statements(self, statements: list[str], row: Mapping[str, Any]) -> None:
        """Adds a row of machine measurements with its statements in report_0, report_1, ..."""
        self.add(MACHINE, **dict(zip(_STATEMENTS, statements, strict=False)), **row)

    def write(self, folder: Path) -> None:
        """Writes all tables under `folder`, UTF-8, with Unix line ends. Raises OSError."""
        for name, rows in self._rows.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, _COLUMNS[name], restval="", lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
