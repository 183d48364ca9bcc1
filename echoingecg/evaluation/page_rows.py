"""Rows of data_contracts.evaluation_details: who was asked what, and where ECGs and echo studies lie."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from data_contracts.conventions import SPLITS
from data_contracts.evaluation_details import NUMBER, QUESTION
from echoingecg.evaluation.data.inputs import EvaluationPairs
from echoingecg.evaluation.gaussians import Gaussians
from echoingecg.evaluation.protocols.classification import EndpointResult
from echoingecg.evaluation.protocols.regression import RegressionResult

Row = dict[str, Any]
_FEWEST: Final = 3  # points that span a plane


def cohort_rows(pairs: EvaluationPairs) -> Iterator[Row]:
    """Rows of COHORT, every split."""
    for side in SPLITS:
        of_side = pairs.split == side
        yield {"split": side, "ecgs": int(of_side.sum()), "patients": len(np.unique(pairs.patient_id[of_side]))}


def asked_rows(results: Sequence[EndpointResult | RegressionResult]) -> Iterator[Row]:
    """Rows of ASKED, in the recipe's order."""
    for one in results:
        found = one.studies
        yield _of(one) | {
            "studies": len(found.value),
            "absent": found.absent,
            "unit_mismatch": found.unit_mismatch,
            "impossible": found.impossible,
            "sex_unknown": one.studies.sex_unknown if isinstance(one, EndpointResult) else 0,
            "labelled": int(found.known.sum()),
        }


def labelled_rows(results: Sequence[EndpointResult | RegressionResult]) -> Iterator[Row]:
    """Rows of LABELLED, every split."""
    for one in results:
        for side in SPLITS:
            of_side = one.split == side
            positives = int(one.label[of_side].sum()) if isinstance(one, EndpointResult) else None
            yield _of(one) | {"split": side, "records": int(of_side.sum()), "positives": positives}


def attempt_rows(results: Sequence[EndpointResult | RegressionResult]) -> Iterator[Row]:
    """Rows of ATTEMPTS: first what ran."""
    for one in results:
        if isinstance(one, EndpointResult):
            ran: dict[str, str | None] = {of.protocol: of.threshold.says for of in one.protocols}
        else:
            ran = dict.fromkeys(one.predicted)
        for protocol, says in ran.items():
            yield _of(one) | {"protocol": protocol, "threshold_says": says, "left_out": None}
        for protocol, reason in one.skipped.items():
            yield _of(one) | {"protocol": protocol, "threshold_says": None, "left_out": reason}


def _of(result: EndpointResult | RegressionResult) -> Row:
    kind = QUESTION if isinstance(result, EndpointResult) else NUMBER
    return {"kind": kind, "endpoint": result.endpoint.name}


def map_rows(pairs: EvaluationPairs, ecgs: Gaussians, target_mean: np.ndarray) -> Iterator[Row]:
    """Rows of EMBEDDING_MAP: means of the test ECGs and of their studies on the plane on which they differ most.

    Args:
        pairs: r ECGs and s studies.
        ecgs: r embeddings by the student.
        target_mean: (study, D) float32, of all studies.
    """
    from sklearn.decomposition import PCA

    tested = pairs.split == "test"
    study = np.unique(pairs.study[tested[pairs.record]])
    points = np.concatenate([ecgs.mean[tested], target_mean[pairs.target_row[study]]]).astype(np.float64)
    if len(points) < _FEWEST or points.shape[1] < 2:
        return
    modality = ["ecg"] * int(tested.sum()) + ["echo"] * len(study)
    names = [*pairs.record_id[tested].tolist(), *pairs.study_id[study].tolist()]
    plane = PCA(2, svd_solver="covariance_eigh").fit_transform(points)
    for kind, name, (x, y) in zip(modality, names, plane.tolist(), strict=True):
        yield {"modality": kind, "name": name, "x": x, "y": y}
