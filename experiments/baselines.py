"""Two bounds for the students: a ceiling with the true ECG features, and an encoder trained on the few labels alone."""

from typing import Any

import pandas as pd
import torch

from echoingecg.recipe import TuningSettings
from echoingecg.student.data.transforms import fit_scaler
from echoingecg.student.fine_tuning import Classifier, fit_classifier
from echoingecg.student.model.student import EcgEncoder
from experiments.cases import DRAWS, labelled
from experiments.hospital import Hospital
from experiments.judge import decided, probe

FEATURES = (
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


RATES = (3e-4, 2e-3)
BATCH = 16
WEIGHT_DECAY = 0.01


def scratch(hospital: Hospital, epochs: int, patience: int) -> dict[str, Any]:
    """For each draw of labels the better of RATES by validation loss, judged on the test cases.

    Args:
        hospital: its validation cases stop the training, choose the rate and the threshold.
        epochs: at most.
        patience: epochs without a better validation loss.
    """
    cases, data = hospital.cases, hospital.data
    scaler = fit_scaler(data.signals, data.train.ecgs)
    signal = torch.from_numpy(scaler.standardise(data.signals.read(cases.ecg)))
    validation = cases.split == "validation"
    model = hospital.order.recipe(hospital.seed).student.model
    settings = TuningSettings(epochs=epochs, patience=patience, batch_size=BATCH, weight_decay=WEIGHT_DECAY)

    def make() -> Classifier:
        return Classifier(EcgEncoder(model), model.embed_dim)

    few = []
    for draw in range(DRAWS):
        training = labelled(cases.label, cases.patient, cases.split, hospital.seed, draw)
        tried = {
            rate: fit_classifier(
                make, signal.__getitem__, cases.label, training, validation, rate, settings, hospital.seed
            )
            for rate in RATES
        }  # fmt: skip
        rate, best = min(tried.items(), key=lambda one: one[1].loss)
        few.append({**decided(hospital, best.score), "rate": rate, "epoch": best.epoch, "labels": int(training.sum())})
    return {"label": cases.label[cases.split == "test"].tolist(), "few": few}
