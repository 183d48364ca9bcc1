"""Predictions of two models on the same patients, for the comparison of a champion with a challenger."""

import numpy as np
import pyarrow as pa

from data_contracts.evaluation import PREDICTIONS


def predictions(skill: float, patients: int = 60, split: str = "test", seed: int = 0, **changes: object) -> pa.Table:
    """Two ECGs a patient; the same seed gives the same labels and the same noise, whatever the skill."""
    generator = np.random.default_rng(seed)
    label = np.repeat(generator.random(patients) < 0.4, 2).astype(np.int8)
    noise = generator.normal(size=2 * patients)
    score = 1 / (1 + np.exp(-(skill * (2 * label - 1) + noise)))
    values = {
        "endpoint": ["e"] * len(label),
        "protocol": ["zero_shot"] * len(label),
        "record_id": [f"r{index}" for index in range(len(label))],
        "patient_id": [f"p{index // 2}" for index in range(len(label))],
        "split": [split] * len(label),
        "label": label,
        "score": score,
        "decision": (score > 0.5).astype(np.int8),
        "uncertainty": np.zeros(len(label)),
    }
    return pa.table(values | changes, schema=PREDICTIONS.schema)
