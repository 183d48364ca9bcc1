"""Does the predicted variance tell where the student errs? Halves, risk against coverage, errors within a class.

Shape legend: n = test cases.
"""

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from benchmarks.science.stats import partial_spearman, spearman
from echoingecg.evaluation.metrics.classification import BALANCED_ACCURACY
from echoingecg.evaluation.metrics.selective import HIGH, LOW, aurc, groups, threshold_nearness


def uncertainty_measures(
    label: np.ndarray, score: np.ndarray, threshold: float, uncertainty: np.ndarray
) -> dict[str, float | None]:
    """The numbers of one student, one decision rule. All arrays (n,); None where a class is absent.

    Returns:
        low_*, high_*: balanced accuracy and counts of the halves by variance; low_minus_high;
        aurc_variance, aurc_distance, aurc_random, aurc_best (errors last);
        rho_label: rank correlation of variance and label;
        rho_error, rho_error_called_0, rho_error_called_1: of variance and error, among all and within a decision.
    """
    decision = (score >= threshold).astype(np.int8)
    error = (decision != label).astype(np.float64)
    found: dict[str, float | None] = {}
    halves = groups(uncertainty)
    for name, half in (("low", LOW), ("high", HIGH)):
        members = halves[half]
        positives = int(label[members].sum())
        found[f"{name}_positives"], found[f"{name}_negatives"] = positives, int(members.sum()) - positives
        both = 0 < positives < members.sum()
        found[f"{name}_{BALANCED_ACCURACY}"] = (
            float(balanced_accuracy_score(label[members], decision[members])) if both else None
        )
        found[f"{name}_error"] = float(error[members].mean())
    low, high = found[f"low_{BALANCED_ACCURACY}"], found[f"high_{BALANCED_ACCURACY}"]
    found["low_minus_high"] = None if low is None or high is None else low - high
    found["aurc_variance"] = aurc(error, uncertainty)
    found["aurc_distance"] = aurc(error, threshold_nearness(score, threshold))
    found["aurc_random"] = float(error.mean())
    found["aurc_best"] = aurc(error, error)
    found["rho_label"] = spearman(uncertainty, label)
    found["rho_error"] = spearman(uncertainty, error)
    for called in (0, 1):
        among = decision == called
        found[f"rho_error_called_{called}"] = spearman(uncertainty[among], error[among])
    return found


def companion_measures(
    label: np.ndarray, uncertainty: np.ndarray, companions: dict[str, np.ndarray]
) -> dict[str, float | None]:
    """What the variance goes with: its rank correlation with each companion, and with the label given that one."""
    found: dict[str, float | None] = {}
    for name, values in companions.items():
        found[f"rho_{name}"] = spearman(uncertainty, values)
        found[f"rho_{name}_in_0"] = spearman(uncertainty[label == 0], values[label == 0])
        found[f"rho_label_given_{name}"] = partial_spearman(uncertainty, label, values)
    return found
