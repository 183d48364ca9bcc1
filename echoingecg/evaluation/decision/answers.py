"""Answers of a reading card to its questions, and its numbers, each with the advice to predict or refer, and why.

Evaluation and prediction apply the same rules, so that an ECG gets the same answer from both. A question is answered
where no finding refers the ECG, it is typical, one label alone is possible, and neither nested questions nor a number
contradict it; a number where no finding refers the ECG, it is typical, the ECG tells more than a guess would, and no
answered question is contradicted.

Shape legend: n = ECGs, D = embedding width, F = features of the student's trunk.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from data_contracts.prediction import DOUBTS, NUMBER_DOUBTS
from echoingecg.evaluation.decision.calibration import Platt, calibrate
from echoingecg.evaluation.decision.nested import consistent_distances, project_by_name
from echoingecg.evaluation.decision.numbers import contradicts
from echoingecg.evaluation.decision.predictive import (
    INTERVAL_REACH,
    EcgValues,
    ExpectedEcho,
    expected_echo,
    expected_number,
)
from echoingecg.evaluation.decision.reading_card import LoadedReading, LoadedReadingCard, percentile
from echoingecg.evaluation.decision.threshold_and_referral import advice, decide, is_decided


class Answers(NamedTuple):
    """What a card says of n ECGs; columns of length n each.

    Attributes:
        questions: for each the columns of data_contracts.prediction.READINGS from `endpoint` to `doubts`, but not
            `protocol`.
        numbers: for each the columns of data_contracts.prediction.NUMBERS from `number` to `doubts`.
    """

    questions: list[dict[str, Any]]
    numbers: list[dict[str, Any]]


def answer_ecgs(
    card: LoadedReadingCard, protocol: str, mean: np.ndarray, features: np.ndarray, is_referred: np.ndarray
) -> Answers:
    """Answers every question of one protocol for n ECGs, and predicts every number.

    Args:
        card: of the student that embedded the ECGs.
        protocol: name of a protocol on the card.
        mean: (n, D) of `LoadedStudent.embed_ecg_with_features`.
        features: (n, F) of the same.
        is_referred: (n,) bool, whether a finding refers the ECG.

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
    numbers = {entry.reading.number: expected_number(entry.predictive, distance, features) for entry in card.numbers}
    contradicted = {name: np.zeros(count, bool) for name in numbers}
    shared = {
        "typicality": distance if typical is not None else [None] * count,
        "typicality_percentile": percentile(distance, card.distances),
    }
    questions = []
    for entry in readings:
        name, rule, limit = entry.reading.endpoint, entry.reading.referral, entry.reading.limit
        own = consistent[name]
        decision, is_one_possible = decide(own.distance), is_decided(rule, own.distance, own.rounding)
        reasons = [is_referred, ~is_typical, ~is_one_possible, ~own.is_kept]
        against = contradicts(limit, numbers, decision) & ~np.any(reasons, axis=0)  # of answered ECGs alone
        if limit is not None:
            contradicted[limit.number] |= against
        questions.append(
            {
                "endpoint": [name] * count,
                **{bound: values.get(name, [None] * count) for bound, values in bounds.items()},
                "score": scores[name],
                "decision": decision,
                **_uncertainty(entry, echoes[name]),
                **shared,
                **_advice(DOUBTS, [*reasons, against]),
            }
        )
    of_numbers = []
    for number in card.numbers:
        name, expected = number.reading.number, numbers[number.reading.number]
        value, low, high = number.within_range(expected)
        of_numbers.append(
            {
                "number": [name] * count,
                "unit": [number.reading.unit] * count,
                "value": value,
                "low": low,
                "high": high,
                "deviation": expected.deviation,
                **shared,
                **_advice(NUMBER_DOUBTS, [is_referred, ~is_typical, number.is_too_wide(expected), contradicted[name]]),
            }
        )
    return Answers(questions, of_numbers)


def _advice(doubts: Sequence[str], reasons: Sequence[np.ndarray]) -> dict[str, Any]:
    """Advice and doubts of n ECGs; `reasons`: (n,) bool for each doubt, whether it holds."""
    holds = np.stack(reasons, axis=1)
    return {
        "advice": advice(~np.any(holds, axis=1)).tolist(),
        "doubts": [[doubt for doubt, is_so in zip(doubts, row, strict=True) if is_so] for row in holds],
    }


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
