"""Small real exports: WFDB records and pydicom's own echo files, with tables in either layout."""

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import wfdb
from pydicom.data import get_testdata_file

from echoingecg.catalog.build import build
from echoingecg.catalog.scan import scan
from echoingecg.recipe import CatalogSettings

CLINICAL = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
KEY = b"a key of the tests"


def write_ecg(record: Path, seed: int) -> None:
    """A WFDB record of 12 leads, 10 s at 100 Hz, whose content depends on the seed alone."""
    record.parent.mkdir(parents=True, exist_ok=True)
    signal = np.random.default_rng(seed).normal(0, 0.3, (1000, 12)).round(3)
    wfdb.wrsamp(
        record.name,
        fs=100,
        units=["mV"] * 12,
        sig_name=CLINICAL,
        p_signal=signal,
        fmt=["16"] * 12,
        adc_gain=[1000.0] * 12,
        baseline=[0] * 12,
        write_dir=str(record.parent),
    )


def write_echo(path: Path, seed: int) -> None:
    """pydicom's apical four-chamber clip; trailing padding makes each seed's content its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(get_testdata_file("examples_ybr_color.dcm"), path)
    with path.open("ab") as file:
        file.write(b"\xfc\xff\xfc\xff\0\0OB" + (2).to_bytes(4, "little") + seed.to_bytes(2, "little"))


def write_csv(path: Path, rows: list[dict[str, Any]], columns: list[str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = columns or list(rows[0])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def generic_export(root: Path, patients: int = 3) -> Path:
    """One ECG, one echo, two reports, one measurement a patient."""
    ecgs, echoes, reports, measurements = [], [], [], []
    for number in range(patients):
        patient, day = f"PAT{number:04d}", f"2021-03-{number + 1:02d}"
        write_ecg(root / f"signals/rec{number}", number)
        write_echo(root / f"clips/clip{number}.dcm", number)
        ecgs.append({"patient_id": patient, "ecg_id": "1", "time": f"{day} 08:00:00", "path": f"signals/rec{number}"})
        echoes.append(
            {"patient_id": patient, "study_id": "7", "time": f"{day}T09:30:00", "path": f"clips/clip{number}.dcm"}
        )
        for method, subject in (("ECG", "1"), ("ECHO", "7")):
            reports.append(
                {
                    "patient_id": patient,
                    "report_id": f"R{number}",
                    "method": method,
                    "subject_id": subject,
                    "time": f"{day} 10:00:00",
                    "text": f"Normal,\nas far as the {method} tells",
                }
            )
        measurements.append(
            {
                "patient_id": patient,
                "study_id": "7" if number else "",
                "time": f"{day} 09:45:00",
                "measurement": "lvef",
                "value": 55 + number,
                "unit": "%",
            }
        )
    write_csv(root / "ecgs.csv", ecgs)
    write_csv(root / "echoes.csv", echoes)
    write_csv(root / "reports.csv", reports)
    write_csv(root / "measurements.csv", measurements)
    return root


def mimic_export(root: Path, patients: int = 3) -> Path:
    """The published folders and columns, with notes and structured measurements."""
    ecg, echo = root / "mimic-iv-ecg", root / "mimic-iv-echo"
    records, machine, clips, studies, notes, structured = [], [], [], [], [], []
    for number in range(patients):
        patient, day = 10_000_000 + number, f"2180-07-{number + 1:02d}"
        study, clip = 40_000_000 + number, 90_000_000 + number
        path = f"files/p1000/p{patient}/s{study}/{study}"
        write_ecg(ecg / path, number)
        file = f"files/p10/p{patient}/s{clip}/{clip}_0001.dcm"
        write_echo(echo / file, number)
        stamp = f"{day} 08:44:00"
        records.append(
            {"subject_id": patient, "study_id": study, "file_name": study, "ecg_time": stamp, "path": path}
        )  # fmt: skip
        statements = {f"report_{at}": "" for at in range(18)} | {"report_0": "Sinus rhythm", "report_2": "Normal ECG."}
        machine.append(
            {
                "subject_id": patient,
                "study_id": study,
                "cart_id": 1,
                "ecg_time": stamp,
                **statements,
                "rr_interval": 800,
            }
        )
        clips.append(
            {
                "subject_id": patient,
                "study_id": clip,
                "acquisition_datetime": f"{day} 10:44:00",
                "dicom_filepath": file,
            }
        )
        studies.append(
            {
                "subject_id": patient,
                "study_id": clip,
                "study_datetime": f"{day} 10:40:00",
                "note_id": f"N-{number}",
                "note_seq": 1,
                "note_charttime": f"{day} 12:00:00",
            }
        )
        notes.append(
            {
                "note_id": f"N-{number}",
                "subject_id": patient,
                "note_type": "EC",
                "note_seq": 1,
                "charttime": f"{day} 12:00:00",
                "text": "LV ejection fraction is 55%.",
            }
        )
        structured.append(
            {
                "subject_id": patient,
                "measurement_id": f"M-{number}",
                "measurement_datetime": f"{day} 10:50:00",
                "test_type": "TTE",
                "measurement": "lvef",
                "measurement_description": "LV EF",
                "result": 55,
                "unit": "%",
            }
        )
    write_csv(ecg / "record_list.csv", records)
    write_csv(ecg / "machine_measurements.csv", machine)
    write_csv(echo / "echo-record-list.csv", clips)
    write_csv(echo / "echo-study-list.csv", studies)
    write_csv(echo / "echo_notes.csv", notes)
    write_csv(echo / "structured_measurement.csv", structured)
    return root


def append_row(table: Path, /, **changes: Any) -> None:
    """The table's last row once more, with changes."""
    rows = read_csv(table)
    write_csv(table, [*rows, rows[-1] | changes])


def tables_of(export: Path, key: bytes = KEY) -> dict[str, pa.Table]:
    return build(scan(export, CatalogSettings(), key), key)


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return table.to_pylist()


def refused(export: Path) -> list[str]:
    return sorted(row["reason"] for row in rows(tables_of(export)["quarantine"]))
