"""Rows of evaluation.SHIFT: training against test patients. A later export is compared by `shift` in the same way."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from echoingecg.evaluation.bootstrap import Patients
from echoingecg.evaluation.protocols import EndpointResult
from echoingecg.evaluation.shift import embedding_shift, share_shift
from echoingecg.evaluation.strata import parts
from echoingecg.recipe import EvaluationSettings

REFERENCE: Final = "train"
COMPARED: Final = "test"


def embedding_rows(mean: np.ndarray, split: np.ndarray, patient: np.ndarray, seed: int) -> Iterator[dict[str, Any]]:
    """Mean embeddings, (r, D); of each patient the first ECG."""
    _, first = np.unique(patient, return_index=True)
    groups = [mean[first[split[first] == side]] for side in (REFERENCE, COMPARED)]
    found = embedding_shift(groups[0], groups[1], seed)
    if found is not None:
        yield _row("embedding", "mmd2") | {"value": found.mmd2, "p": found.p}


def prevalence_rows(result: EndpointResult, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    """How common label 1 is."""
    yield from _share("prevalence", result.endpoint.name, result.label == 1, result.split, result.patient_id, settings)


def share_rows(
    strata: Mapping[str, np.ndarray], split: np.ndarray, patient: np.ndarray, settings: EvaluationSettings
) -> Iterator[dict[str, Any]]:
    """How common each level of each stratum is among the ECGs, (r,), whose level is known."""
    for stratum, levels in strata.items():
        known = levels != ""
        for level, members in parts(levels[known], patient[known]).items():
            yield from _share("share", f"{stratum}: {level}", members, split[known], patient[known], settings)


def _share(
    measure: str,
    name: str,
    holds: np.ndarray,
    split: np.ndarray,
    patient: np.ndarray,
    settings: EvaluationSettings,
) -> Iterator[dict[str, Any]]:
    sides = [split == side for side in (REFERENCE, COMPARED)]
    if not all(side.any() for side in sides):
        return
    (reference, of_reference), (compared, of_compared) = ((holds[side], Patients.of(patient[side])) for side in sides)
    found = share_shift(reference, of_reference, compared, of_compared, settings.bootstrap_draws, settings.seed)
    yield _row(measure, name) | {
        "reference_value": float(reference.mean()),
        "compared_value": float(compared.mean()),
        "value": found.value,
        "low": found.low,
        "high": found.high,
    }


def _row(measure: str, name: str) -> dict[str, Any]:
    return {"measure": measure, "name": name, "reference": REFERENCE, "compared": COMPARED}
