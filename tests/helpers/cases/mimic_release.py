"""A small export in the layout of the releases: MIMIC-IV-ECG 1.0, MIMIC-IV-ECHO 1.0.1, patients of MIMIC-IV 3.1.

Columns and names are those that the data sets' pages list. Each of four patients has two ECGs, eleven years apart, and
an echo study whose exam is dated 30 hours after it.
"""

import csv
import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.cases.hospital import write_csv, write_ecg, write_echo

COLUMNS = (
    "subject_id", "measurement_id", "measurement_datetime", "test_type", "measurement", "measurement_description",
    "result", "unit",
)  # fmt: skip
STATEMENTS = [f"report_{number}" for number in range(18)]
WAVES = ["bandwidth", "filtering", "rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end"]
PATIENTS = 4


def subject(number: int) -> str:
    return str(10_000_000 + number)


def study(number: int) -> str:
    return str(90_000_000 + number)


def exam(number: int) -> str:
    return str(70_000_000 + number)


def row(number: int, measurement: str, result: Any, unit: str = "", **changes: Any) -> dict[str, Any]:
    """A row of the structured measurements, of the patient's exam."""
    values = (subject(number), exam(number), f"2180-07-{number + 2:02d} 16:40:00", "TTE", measurement)
    return dict(zip(COLUMNS, (*values, measurement.replace("_", " "), result, unit), strict=True)) | changes


@dataclass
class Release:
    """Where the parts go, and the rows of the measurements.

    Attributes:
        ecg, echo, core: folders of the data sets, relative to the export.
        structured: name of the table of measurements.
        rows: its rows.
        patients: rows of the table of patients; none: no table.
    """

    ecg: str = "mimic-iv-ecg/1.0"
    echo: str = "mimic-iv-echo/1.0.1"
    core: str = "mimiciv/3.1/hosp"
    structured: str = "structured-measurement.csv.gz"
    rows: list[dict[str, Any]] = field(
        default_factory=lambda: [default for at in range(PATIENTS) for default in exam_rows(at)]
    )
    patients: list[dict[str, Any]] = field(default_factory=lambda: [person(at) for at in range(PATIENTS)])

    def write(self, root: Path) -> Path:
        records, machine, clips, studies = [], [], [], []
        for number in range(PATIENTS):
            patient, day = subject(number), f"2180-07-{number + 1:02d}"
            for year, stamp in ((0, f"{day} 08:44:00"), (1, f"2191-07-{number + 1:02d} 08:44:00")):
                name = str(40_000_000 + 10 * number + year)
                path = f"files/p{patient[:4]}/p{patient}/s{name}/{name}"
                write_ecg(root / self.ecg / path, 10 * number + year)
                records.append([patient, name, name, stamp, path])
                machine.append([patient, name, 681, stamp, "Sinus rhythm", "Normal ECG", *[""] * 16, *[""] * 8])
            file = f"files/p{patient[:2]}/p{patient}/s{study(number)}/{study(number)}_0001.dcm"
            write_echo(root / self.echo / file, number)
            clips.append([patient, study(number), f"{day} 10:44:00", file])
            measured = row(number, "", "")["measurement_datetime"]
            studies.append([patient, study(number), f"{day} 10:40:00", exam(number), measured, "", "", ""])
        tables = {
            f"{self.ecg}/record_list.csv": ("subject_id study_id file_name ecg_time path", records),
            f"{self.ecg}/machine_measurements.csv": (
                " ".join(["subject_id study_id cart_id ecg_time", *STATEMENTS, *WAVES]), machine),
            f"{self.echo}/echo-record-list.csv": ("subject_id study_id acquisition_datetime dicom_filepath", clips),
            f"{self.echo}/echo-study-list.csv": (
                "subject_id study_id study_datetime measurement_id measurement_datetime note_id note_seq "
                "note_charttime",
                studies),
        }  # fmt: skip
        for name, (columns, listed) in tables.items():
            names = columns.split()
            write_csv(root / name, [dict(zip(names, values, strict=True)) for values in listed], names)
        write_table(root / self.echo / self.structured, self.rows, list(COLUMNS))
        if self.patients:
            write_table(root / self.core / "patients.csv.gz", self.patients, list(self.patients[0]))
        return root


def exam_rows(number: int) -> list[dict[str, Any]]:
    """What is measured in a patient's exam: a range, a number, a gap and words."""
    return [
        row(number, "lvef", 50, "%"),
        row(number, "lvef_upper", 55, "%"),
        row(number, "septal_thickness", 1.1, "cm"),
        row(number, "tr_velocity", "", "m/s"),
        row(number, "mitral_regurg", "Mild (1+)"),
        row(number, "lv_wall_thickness", "Mod symmetric LVH (1.5-1.7cm)"),
    ]


def person(number: int) -> dict[str, Any]:
    return {
        "subject_id": subject(number), "gender": "FM"[number % 2], "anchor_age": 60 + 10 * number, "anchor_year": 2180,
        "anchor_year_group": "2017 - 2019", "dod": "",
    }  # fmt: skip


def write_table(path: Path, rows: list[dict[str, Any]], columns: list[str]) -> None:
    """A CSV table, compressed where its name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
