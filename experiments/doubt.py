"""The predictive distribution of an arm: its doubt about each test ECG, and what noise does to its variance.

As in the stage `evaluation` (docs/evaluation.md), but for findings: no ECG is referred by one here. No label is read
but to choose the threshold, on validation cases.
"""

from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from echoingecg.evaluation.data.models import LinearScore
from echoingecg.evaluation.data.names import Skipped
from echoingecg.evaluation.decision.predictive import EcgValues, ExpectedEcho, PredictiveDistribution, expected_echo
from echoingecg.evaluation.decision.threshold_and_referral import choose_threshold
from echoingecg.evaluation.decision.typicality import Typicality, fit_typicality
from echoingecg.evaluation.protocols.trust import CohortTrust, disturbed_copies
from echoingecg.student.inference import LoadedStudent
from experiments.hospital import Hospital
from experiments.noise import KINDS, LEVELS, added


def predictive_measures(hospital: Hospital, student: LoadedStudent, score: LinearScore) -> dict[str, Any]:
    """What is kept of a student's predictive distribution.

    Args:
        hospital: its test cases are judged.
        student: that learned from echoes.
        score: zero-shot by the teacher's texts, which the echo itself gets, too.

    Returns:
        'predictive': of the test cases the score, the deviation of its log-odds, and the residual, which lies between
        the log-odds and those that the own echo gets; the threshold. By kind of noise, a value a
        level: 'predictive_noise', mean logarithm of the variance, and 'predictive_auroc'.
    """
    cases, signals = hospital.cases, hospital.data.signals
    recipe = hospital.order.recipe(hospital.seed)
    mean, _, features = student.embed_ecg_with_features(signals.read(cases.ecg))
    training, validation, test = (cases.split == side for side in ("train", "validation", "test"))
    copies = disturbed_copies(student, signals, cases.ecg, np.flatnonzero(training), recipe.ecg, recipe.evaluation.seed)
    typicality = fit_typicality(
        features[training], copies.features, features[validation], recipe.evaluation.typical_share
    )
    assert typicality is not None, f"seed {hospital.seed} has too few training ECGs"
    nobody = np.zeros(len(mean), bool)
    target = hospital.targets.mean[cases.study]
    trust = CohortTrust(cases.split, mean, features, target, nobody, typicality, copies)
    predictive = trust.predictive_of_question(score)
    assert not isinstance(predictive, Skipped), predictive.reason
    own = trust.expected_echo(score, predictive, np.arange(len(mean)))
    threshold = choose_threshold(cases.label[validation], expit(own.mean[validation])).value
    found: dict[str, Any] = {
        "predictive": {
            "score": expit(own.mean[test]).tolist(),
            "deviation": own.deviation[test].tolist(),
            "residual": np.abs(score.log_odds(target[test]) - own.mean[test]).tolist(),
            "threshold": threshold,
        },
        "predictive_noise": {},
        "predictive_auroc": {},
    }
    clean = signals.read(cases.ecg[test])
    for kind in KINDS:
        noise = added(kind, clean.shape, hospital.seed)
        noisy = [
            _expected(student, clean + np.float32(level) * noise, score, predictive, typicality) for level in LEVELS
        ]
        found["predictive_noise"][kind] = [float(2 * np.log(echo.deviation).mean()) for echo in noisy]
        found["predictive_auroc"][kind] = [float(roc_auc_score(cases.label[test], echo.mean)) for echo in noisy]
    return found


def _expected(
    student: LoadedStudent,
    ecgs: np.ndarray,
    score: LinearScore,
    predictive: PredictiveDistribution,
    typicality: Typicality,
) -> ExpectedEcho:
    mean, _, features = student.embed_ecg_with_features(ecgs)
    values = EcgValues(score.log_odds(mean), typicality.distance(features), features)
    return expected_echo(predictive, values, score.steepness)
