"""How unlike each echo study is to the studies of the training, by the teacher's mean embedding.

A label, and the target that a student learns, are no better than the echo they come from: a study far from those of the
training may be of another kind of view, machine or patient. Nothing is referred by it; the report tells its share.
"""

from typing import Any

import numpy as np

from echoingecg.evaluation.data.inputs import EvaluationInputs
from echoingecg.evaluation.decision.typicality import fit_distance, mahalanobis, share_limit


def study_columns(inputs: EvaluationInputs, share: float) -> dict[str, Any]:
    """Columns of data_contracts.evaluation_details.STUDY_TYPICALITY: a row for each study of a patient with a split.

    Args:
        inputs: of the stage.
        share: of the validation studies that are to be typical.
    """
    split_of = dict(zip(*(inputs.patients[name].to_pylist() for name in ("patient_id", "split")), strict=True))
    split = np.array([split_of.get(name, "") for name in inputs.studies["patient_id"].to_pylist()], dtype="<U10")
    known = np.flatnonzero(split != "")
    study_id, split, mean = (
        np.array(inputs.studies["study_id"].to_pylist(), np.str_)[known], split[known], inputs.target_mean[known],
    )  # fmt: skip
    columns: dict[str, Any] = {"study_id": study_id, "split": split}
    training, validation = mean[split == "train"], mean[split == "validation"]
    measure = fit_distance(training) if len(validation) else None
    if measure is None:
        return columns | {"distance": [None] * len(split), "is_typical": np.zeros(len(split), bool)}
    distance = mahalanobis(mean, *measure)
    limit = share_limit(distance[split == "validation"], share)
    return columns | {"distance": distance, "is_typical": distance <= limit}
