"""The ceiling: what the simulated heart's own ECG features tell of LVEF, read off the simulator's truth."""

from typing import Any, Final

import pandas as pd

from benchmarks.science.hospital import Hospital
from benchmarks.science.judge import probe

FEATURES: Final = (
    "heart_rate",
    "rhythm",
    "conduction",
    "left_bundle_branch_block",
    "right_bundle_branch_block",
    "ectopic_share",
    "pr_interval",
    "qrs_duration",
    "qt_corrected",
    "qrs_axis",
    "qrs_voltage",
    "t_amplitude",
    "t_polarity",
    "st_depression",
)


def ecg_features(truth: pd.DataFrame) -> pd.DataFrame:
    """(case, feature) float64: those of FEATURES that the table holds; words as a column a word."""
    return pd.get_dummies(truth[[one for one in FEATURES if one in truth]]).astype(float)


def ceiling(hospital: Hospital) -> dict[str, Any]:
    """Logistic regression on the features, fitted on all training cases like a probe."""
    features = ecg_features(hospital.cases.truth)
    test = hospital.cases.split == "test"
    return {
        "label": hospital.cases.label[test].tolist(),
        "probe": probe(hospital, features.to_numpy(), hospital.cases.split == "train"),
        "features": list(features.columns),
        "cases": {side: int((hospital.cases.split == side).sum()) for side in ("train", "validation", "test")},
        "positives": {
            side: int(hospital.cases.label[hospital.cases.split == side].sum())
            for side in ("train", "validation", "test")
        },
    }
