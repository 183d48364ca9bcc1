"""Answers to the questions of a reading card: score, probability, decision, and whether to refer, with the reasons.

Evaluation and prediction apply the same rules, so that an ECG gets the same answer from both. An ECG is answered where
no finding refers it, it is typical, one label alone is possible, and nested questions do not contradict it.

Shape legend: n = ECGs, D = embedding width, F = features of the student's trunk.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from data_contracts.prediction import DOUBTS
from echoingecg.evaluation.decision.calibration import Platt, calibrate
from echoingecg.evaluation.decision.nested import consistent_distances, project_by_name
from echoingecg.evaluation.decision.predictive import INTERVAL_REACH, EcgValues, ExpectedEcho, expected_echo
from echoingecg.evaluation.decision.reading_card import LoadedReading, LoadedReadingCard, percentile
from echoingecg.evaluation.decision.threshold_and_referral import advice, decide, is_decided


def answer_ecgs(
    card: LoadedReadingCard, protocol: str, mean: np.ndarray, features: np.ndarray, is_referred: np.ndarray
) -> list[dict[str, Any]]:
    """Answers every question of one protocol for n ECGs.

    Args:
        card: of the student that embedded the ECGs.
        protocol: name of a protocol on the card.
        mean: (n, D) of `LoadedStudent.embed_ecg_with_features`.
        features: (n, F) of the same.
        is_referred: (n,) bool, whether a finding refers the ECG.

    Returns:
        For each question the columns of data_contracts.prediction.READINGS from `endpoint` to `doubts`, each of
        length n.

    Raises:
        UserError: the card has no such protocol.
    """
    readings, typical = card.readings_under(protocol), card.typicality
    count, nested = len(mean), card.card.nested
    distance = np.full(count, np.inf) if typical is None else typical.distance(features)
    is_typical = np.zeros(count, bool) if typical is None else typical.is_typical(features, distance)
    echoes = {
        entry.reading.endpoint: expected_echo(
            entry.predictive, EcgValues(entry.score.log_odds(mean), distance, features), entry.score.steepness
        )
        for entry in readings
    }
    scores = {name: expit(echo.mean) for name, echo in echoes.items()}
    distances = {
        entry.reading.endpoint: echoes[entry.reading.endpoint].distance(entry.reading.referral.threshold)
        for entry in readings
    }
    consistent = consistent_distances(distances, {name: echo.rounding for name, echo in echoes.items()}, nested)
    bounds = _probabilities(readings, scores, distances)
    bounds = {bound: project_by_name(values, nested) for bound, values in bounds.items()}
    for name, probability in bounds["probability"].items():  # a question of the chain may have no interval
        if name in bounds["low"]:
            bounds["low"][name] = np.minimum(bounds["low"][name], probability)
            bounds["high"][name] = np.maximum(bounds["high"][name], probability)
    answers = []
    for entry in readings:
        name, rule = entry.reading.endpoint, entry.reading.referral
        found = consistent[name]
        decided = is_decided(rule, found.distance, found.rounding)
        reasons = np.stack([is_referred, ~is_typical, ~decided, ~found.is_kept], axis=1)
        answers.append(
            {
                "endpoint": [name] * count,
                **{bound: values.get(name, [None] * count) for bound, values in bounds.items()},
                "score": scores[name],
                "decision": decide(found.distance),
                **_uncertainty(entry, echoes[name]),
                "typicality": distance if typical is not None else [None] * count,
                "typicality_percentile": percentile(distance, card.distances),
                "advice": advice(np.asarray(~reasons.any(axis=1))).tolist(),
                "doubts": [[doubt for doubt, holds in zip(DOUBTS, row, strict=True) if holds] for row in reasons],
            }
        )
    return answers


def _uncertainty(entry: LoadedReading, echo: ExpectedEcho) -> dict[str, Any]:
    """Deviation and its percentile; None for a question whose score alone decides."""
    if entry.predictive is None:
        nothing = [None] * len(echo.mean)
        return {"uncertainty": nothing, "uncertainty_percentile": nothing}
    return {
        "uncertainty": echo.deviation,
        "uncertainty_percentile": percentile(echo.deviation, entry.deviations),
    }


def _probabilities(
    readings: Sequence[LoadedReading], scores: Mapping[str, np.ndarray], distances: Mapping[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Calibrated probability and the ends of its interval, (n,) by question; others are left out.

    The interval is that of the probability if the echo's log-odds were known. There is none without a predictive
    distribution, and none by isotonic regression.
    """
    bounds: dict[str, dict[str, np.ndarray]] = {"probability": {}, "low": {}, "high": {}}
    for entry in readings:
        name, rule = entry.reading.endpoint, entry.reading.calibration
        distance = distances[name]
        probability = calibrate(rule, scores[name], distance)
        if probability is not None:
            bounds["probability"][name] = probability
        if rule.method == "platt" and entry.predictive is not None:
            sigmoid = Platt(rule.slope, rule.intercept)
            ends = [sigmoid(distance + side * INTERVAL_REACH) for side in (-1, 1)]
            bounds["low"][name], bounds["high"][name] = np.minimum(*ends), np.maximum(*ends)  # the sigmoid may fall
    return bounds
