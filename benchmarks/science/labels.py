"""Few labels: which training patients are labelled, the same for every method."""

from typing import Final

import numpy as np

SHARE: Final = 0.1  # of the training patients
DRAWS: Final = 3  # a seed
FEWEST: Final = 8  # patients, where the share would be fewer
OF_EACH: Final = 2  # cases of a class at least


def labelled(label: np.ndarray, patient: np.ndarray, split: np.ndarray, seed: int, draw: int) -> np.ndarray:
    """(case,) bool: a tenth of the training patients at random, drawn again while a class has under two cases.

    Args:
        label: (case,) 0 or 1.
        patient: (case,) str.
        split: (case,) str.
        seed: of the hospital.
        draw: from 0.
    """
    training = split == "train"
    for one in (0, 1):
        assert (label[training] == one).sum() >= OF_EACH, f"fewer than {OF_EACH} training cases with label {one}"
    patients = np.unique(patient[training])
    size = max(FEWEST, round(SHARE * len(patients)))
    random = np.random.default_rng((seed, draw))
    while True:
        chosen = training & np.isin(patient, random.choice(patients, size, replace=False))
        if np.bincount(label[chosen], minlength=2).min() >= OF_EACH:
            return chosen
