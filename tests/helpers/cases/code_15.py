"""Small exports of CODE-15 and SaMi-Trop by their published letter: names, columns, shapes, order of leads, padding."""

from pathlib import Path

import h5py
import numpy as np

from helpers.cases.hospital import write_csv

FLAGS = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")
SAMPLES = 4096
ORDER = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")  # DI, DII, DIII, AVR, AVL, AVF, ...


def signal(seed: int, samples: int = 2934) -> np.ndarray:
    """Twelve leads that keep Einthoven's and Goldberger's rules, float64 (time, lead) in mV, at 400 Hz."""
    random = np.random.default_rng(seed)
    time = np.arange(samples) / 400
    beats = np.exp(-((time[:, None] % 0.8 - 0.4) ** 2) / 2e-4) * random.uniform(0.5, 1.5, 8)
    leads = beats + random.normal(0, 0.02, (samples, 8)) + 0.01  # never zero in all leads
    first, second = leads[:, 0], leads[:, 1]
    limbs = [first, second, second - first, -(first + second) / 2, first - second / 2, second - first / 2]
    return np.column_stack([*limbs, leads[:, 2:]])


def padded(leads: np.ndarray) -> np.ndarray:
    """Centred in 4096 samples, float32, in units of 1e-4 V, as the publisher writes."""
    before = (SAMPLES - len(leads)) // 2
    tracing = np.zeros((SAMPLES, leads.shape[1]), np.float32)
    tracing[before : before + len(leads)] = leads * 10
    return tracing


def exam(number: int, patient: int, part: int, flags: tuple[str, ...] = ()) -> dict[str, str]:
    """A row of CODE-15's table."""
    return {
        "exam_id": str(number), "age": "38", "is_male": str(number % 2 == 0), "nn_predicted_age": "40.160484",
        **{flag: str(flag in flags) for flag in FLAGS}, "patient_id": str(patient), "death": "False",
        "timey": "2.098628",
        "normal_ecg": str(not flags), "trace_file": f"exams_part{part}.hdf5",
    }  # fmt: skip


def write_part(path: Path, numbers: list[int], tracings: list[np.ndarray], last: int = 0) -> None:
    """A part of CODE-15: the published files end with a row of exam 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["exam_id"] = np.array([*numbers, last], np.int64)
        file["tracings"] = np.stack([*tracings, np.zeros((SAMPLES, 12), np.float32)])


def code_15_export(root: Path, exams: int = 6) -> list[dict[str, str]]:
    """Exams in two parts, whose order is not the table's; every second exam is of the patient before."""
    rows = [exam(7000 - number, 500 + number // 2, number % 2, ("RBBB",) * (number % 2)) for number in range(exams)]
    write_csv(root / "exams.csv", rows)
    for part in range(2):
        numbers = sorted(int(row["exam_id"]) for row in rows if row["trace_file"] == f"exams_part{part}.hdf5")
        write_part(root / f"exams_part{part}.hdf5", numbers, [padded(signal(number)) for number in numbers])
    return rows


def sami_trop_export(root: Path, exams: int = 3, tracings: int | None = None) -> list[dict[str, str]]:
    """A table without patients and parts, and tracings in its order."""
    rows = [
        {"exam_id": str(900 + number), "age": "61", "is_male": "False", "normal_ecg": "False", "death": "True",
         "timey": "1.5", "nn_predicted_age": "66.1"}
        for number in range(exams)
    ]  # fmt: skip
    write_csv(root / "exams.csv", rows)
    with h5py.File(root / "exams.hdf5", "w") as file:
        held = exams if tracings is None else tracings
        file["tracings"] = np.stack([padded(signal(900 + number)) for number in range(held)]).astype(np.float64)
    return rows
