"""A small EchoNext by its published letter: arrays of three splits, standardised by lead, and their metadata."""

from pathlib import Path

import numpy as np

from helpers.cases.code_15 import ORDER, signal
from helpers.cases.hospital import write_csv

__all__ = ["CONSTANTS", "METADATA", "ORDER", "STEP_MV", "echonext_export", "publish", "row", "truth"]

# waveform_normalization_params.json of PierreElias/IntroECG, "7-EchoNext Minimodel", rounded: in steps of GE MUSE.
LOWEST = np.array([-140, -206, -324, -247, -153, -249, -369, -522, -554, -411, -290, -209])
HIGHEST = np.array([287, 297, 236, 118.5, 270, 245.5, 219, 297, 366, 450, 451, 396])
MEAN = (5.44, 4.39, -0.88, -4.90, 3.18, 1.72, -4.39, -1.50, -0.24, 3.62, 5.40, 5.66)
SCALE = (32.4, 31.4, 30.2, 28.1, 27.1, 26.1, 37.7, 52.8, 56.8, 49.9, 45.0, 39.1)
STEP_MV = 0.00488
CONSTANTS = {"mean": MEAN, "scale": SCALE, "unit": "4.88 uV"}
METADATA = "echonext_metadata_100k.csv"
FLAGS = ("lvef_lte_45_flag", "shd_moderate_or_greater_flag", "pericardial_effusion_moderate_large_flag")


def truth(leads: np.ndarray) -> np.ndarray:
    """What is left of (time, 12) in mV after the publisher's clipping."""
    return np.clip(leads / STEP_MV, LOWEST, HIGHEST) * STEP_MV


def publish(leads: np.ndarray) -> np.ndarray:
    """(1, time, 12) as published, of (time, 12) in mV."""
    return ((truth(leads) / STEP_MV - np.array(MEAN)) / np.array(SCALE))[None]


def ecg(number: int) -> np.ndarray:
    """(2500, 12) in mV, at 250 Hz; smaller than the publisher's limits."""
    return signal(number, 2500) * 0.5


def row(number: int, split: str) -> dict[str, str]:
    return {
        "ecg_key": f"e{number}", "patient_key": str(number // 2), "age_at_ecg": "61", "sex": str(number % 2),
        "acquisition_year": str(2015 + number % 2), "location_setting": "outpatient", "race_ethnicity": "white",
        "most_recent_ecg": "1", "ventricular_rate": "70", **{flag: str(number % 2) for flag in FLAGS},
        "lvef_value": str(55 - 20 * (number % 2)), "ivs_measurement": "", "pasp_value": "NA", "split": split,
    }  # fmt: skip


def echonext_export(root: Path, order: str = "tnvteve") -> list[dict[str, str]]:
    """ECGs whose splits are mixed in the metadata: t(rain), v(al), (t)e(st), n(o_split)."""
    names = {"t": "train", "v": "val", "e": "test", "n": "no_split"}
    rows = [row(number, names[letter]) for number, letter in enumerate(order)]
    write_csv(root / METADATA, rows)
    for split in ("train", "val", "test"):
        numbers = [int(one["ecg_key"][1:]) for one in rows if one["split"] == split]
        np.save(root / f"EchoNext_{split}_waveforms.npy", np.stack([publish(ecg(number)) for number in numbers]))
    return rows
