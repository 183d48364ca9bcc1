"""The baseline without distillation: the same encoder, trained from nothing on the few labels alone."""

from typing import Any, Final

import torch

from benchmarks.science.hospital import Hospital
from benchmarks.science.judge import decided
from benchmarks.science.labels import DRAWS, labelled
from echoingecg.recipe import TuningSettings
from echoingecg.student.data.transforms import fit_scaler
from echoingecg.student.fine_tuning import Classifier, fit_classifier
from echoingecg.student.model.student import EcgEncoder

RATES: Final = (3e-4, 2e-3)
BATCH: Final = 16
WEIGHT_DECAY: Final = 0.01


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
