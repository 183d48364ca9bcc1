"""What a trained student knows, on the test cases: scores, thresholds, retrieval, variance. All JSON values.

Thresholds and the probe's strength come from the validation cases; test labels are stored, never used.
"""

from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from echoingecg.evaluation.data.embed import GaussianTable, embed_ecgs, embed_prompts
from echoingecg.evaluation.data.names import Skipped
from echoingecg.evaluation.decision.threshold_and_referral import choose_threshold
from echoingecg.evaluation.protocols.retrieval import retrieve
from echoingecg.evaluation.protocols.zero_shot_and_probe import (
    linear_probe_scores,
    zero_shot_linear_score,
    zero_shot_scores,
)
from echoingecg.student.fine_tuning import balanced_loss
from echoingecg.student.inference import LoadedStudent
from experiments.arms import Arm, Tower
from experiments.cases import DRAWS, labelled
from experiments.doubt import predictive_measures
from experiments.hospital import Hospital
from experiments.measures import crowding, expected_matches
from experiments.noise import under_noise

STRENGTHS = (0.01, 0.1, 1.0)  # of the probe, C; like the two rates of training from scratch
_HEARTS_OWN = ("heart_rate", "qrs_duration", "ecg_noise")  # columns of the truth that may explain the variance


def judge(hospital: Hospital, arm: Arm, student: LoadedStudent) -> dict[str, Any]:
    """Everything that is kept of one student."""
    cases = hospital.cases
    ecgs = embed_ecgs(student, hospital.data.signals, cases.ecg, hospital.data.dim)
    test = cases.split == "test"
    found: dict[str, Any] = {
        "label": cases.label[test].tolist(),
        "uncertainty": ecgs.uncertainty[test].tolist(),
        "zero_shot": {
            tower: decided(hospital, zero_shot_scores(ecgs, *prompts(hospital, student, tower), student.scale))
            for tower in arm.towers
        },
        "probe": probe(hospital, ecgs.mean, cases.split == "train"),
        "few": [
            probe(hospital, ecgs.mean, labelled(cases.label, cases.patient, cases.split, hospital.seed, draw))
            for draw in range(DRAWS)
        ],
        "recall": recall(hospital, student, ecgs[test]),
    }
    if arm.studied:
        batch = hospital.order.recipe(hospital.seed).student.batch_size
        found["companions"] = companions(hospital, student, ecgs[test])
        studies = hospital.targets[cases.study[cases.split == "train"]]
        found["matches"] = expected_matches(ecgs[test], studies, student.scale, student.shift, batch)
        found |= noise_measures(hospital, student, studies.mean)
        by_teacher = zero_shot_linear_score(*prompts(hospital, student, "teacher"), student.scale)
        found |= predictive_measures(hospital, student, by_teacher)
        found["log_var_bias"] = float(student.objective.student.ecg_encoder.std_linear.bias.detach().mean())
    return found


def noise_measures(hospital: Hospital, student: LoadedStudent, studies: np.ndarray) -> dict[str, Any]:
    """Under noise: mean log-variance ('noise'), mean crowding, AUROC of zero-shot by the student's texts.

    Args:
        hospital: its test cases are judged.
        student: that learned texts.
        studies: (m, D), means of the training studies.
    """
    cases = hospital.cases
    test = cases.split == "test"
    asked = prompts(hospital, student, "student")

    def auroc(ecgs: GaussianTable) -> float:
        return float(roc_auc_score(cases.label[test], zero_shot_scores(ecgs, *asked, student.scale)))

    measured = {
        "noise": lambda ecgs: float(ecgs.uncertainty.mean()),
        "noise_crowding": lambda ecgs: float(crowding(ecgs.mean, studies, student.scale).mean()),
        "noise_auroc": auroc,
    }
    return under_noise(student, hospital.data.signals.read(cases.ecg[test]), hospital.seed, measured)


def prompts(hospital: Hospital, student: LoadedStudent, tower: Tower) -> tuple[GaussianTable, GaussianTable]:
    """Positive and negative sentences. The teacher's have no variance."""
    if tower == "student":
        endpoint, dim = hospital.endpoint, hospital.data.dim
        return (
            embed_prompts(student, endpoint.positive_prompts, dim),
            embed_prompts(student, endpoint.negative_prompts, dim),
        )
    return GaussianTable.from_points(hospital.prompts["positive"]), GaussianTable.from_points(
        hospital.prompts["negative"]
    )


def decided(hospital: Hospital, score: np.ndarray) -> dict[str, Any]:
    """Scores of the test cases and the threshold of the validation cases."""
    cases = hospital.cases
    validation = cases.split == "validation"
    threshold = choose_threshold(cases.label[validation], score[validation])
    return {"score": score[cases.split == "test"].tolist(), "threshold": threshold.value}


def probe(hospital: Hospital, features: np.ndarray, training: np.ndarray) -> dict[str, Any]:
    """Logistic regression on frozen features; of STRENGTHS the one with the least class-balanced validation loss."""
    label, validation = hospital.cases.label, hospital.cases.split == "validation"
    best, least, chosen = np.empty(0), np.inf, 0.0
    for strength in STRENGTHS:
        score = linear_probe_scores(features, label, training, strength)
        assert not isinstance(score, Skipped), score.reason
        if (loss := balanced_loss(label[validation], score[validation])) < least:
            best, least, chosen = score, loss, strength
    return {**decided(hospital, best), "c": chosen}


def recall(hospital: Hospital, student: LoadedStudent, ecgs: GaussianTable) -> dict[str, list[float]]:
    """Recall at evaluation.retrieval.KS: an ECG's own echo study, and its study's report, among those of the test."""
    cases = hospital.cases
    test = np.flatnonzero(cases.split == "test")
    own = np.arange(len(test))
    studies = retrieve(ecgs, hospital.targets[cases.study[test]], own, own)
    distinct, report = np.unique(cases.text[test], return_inverse=True)  # equal reports are one
    texts = retrieve(ecgs, GaussianTable.from_log_var(*student.embed_text(distinct.tolist(), "ECHO")), own, report)
    return {
        "echo": list(studies.recall),
        "echo_chance": list(studies.chance),
        "text": list(texts.recall),
        "text_chance": list(texts.chance),
    }


def companions(hospital: Hospital, student: LoadedStudent, ecgs: GaussianTable) -> dict[str, list[float]]:
    """What the variance may follow, one value a test case.

    'crowding' is that among the training studies, 'own_distance' the squared distance to the ECG's own study.
    """
    cases = hospital.cases
    test, training = cases.split == "test", cases.split == "train"
    means = hospital.targets.mean
    own = np.square(ecgs.mean - means[cases.study[test]]).sum(axis=1)
    truth = cases.truth[test]
    return {
        "crowding": crowding(ecgs.mean, means[cases.study[training]], student.scale).tolist(),
        "own_distance": own.tolist(),
        **{name: truth[name].astype(float).tolist() for name in _HEARTS_OWN if name in truth},
    }
