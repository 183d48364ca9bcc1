"""A reading card of nested questions, without an evaluation behind it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_contracts.prediction import (
    Calibration,
    NumberLimit,
    NumberReading,
    Predictive,
    Reading,
    ReadingCard,
    Referral,
)
from echoingecg.evaluation.data.models import LinearScore
from echoingecg.evaluation.decision.numbers import LoadedNumber
from echoingecg.evaluation.decision.predictive import PredictiveDistribution
from echoingecg.evaluation.decision.reading_card import LoadedReading, LoadedReadingCard
from echoingecg.evaluation.decision.typicality import Typicality, fit_typicality
from echoingecg.recipe import EcgSettings
from helpers.cases.republished import republish

STORED_STUDENT, STORED_EVALUATION = "student-2ccdf68a5d10b8c7", "evaluation-c3661e9550df8e42"  # of tests/data
NESTED = ("LVEF < 30 %", "LVEF < 40 %", "LVEF < 50 %")
PROTOCOLS = ("zero_shot", "expected_echo")


def typicality_of(features: np.ndarray, seed: int = 0) -> Typicality:
    """Measures fitted on half of the ECGs' features, (n, F), with limits from the other half."""
    random = np.random.default_rng(seed)
    spread = np.maximum(features.std(axis=0), 1e-3)
    disturbed = features + 3 * spread * random.normal(1, 1, features.shape)
    typicality = fit_typicality(features[::2], disturbed, features[1::2], 0.95)
    assert typicality is not None
    return typicality


def nested_card(
    features: np.ndarray, dim: int, endpoints: Sequence[str] = NESTED, student: str = "s", seed: int = 0,
    calibration: str = "platt", ecg: EcgSettings | None = None, with_number: bool = False,
) -> LoadedReadingCard:  # fmt: skip
    """A card whose questions have weights of their own, so that their answers contradict each other now and then.

    Args:
        features: (n, F) of typical ECGs.
        dim: width of the embedding.
        endpoints: nested, the strictest first.
        student: its version.
        seed: of weights.
        calibration: of all questions but the first, which has Platt's.
        ecg: settings of the signals.
        with_number: LVEF is on the card, and parted by the questions at 30, 40 and 50 %.
    """
    random = np.random.default_rng(seed)
    readings = []
    for protocol in PROTOCOLS:
        for place, endpoint in enumerate(endpoints):
            predictive = None
            if protocol == "expected_echo":
                scalars = Predictive(
                    slope=0.8, intercept=0.3 * place, log_variance=-0.5, log_variance_slope=1.5,
                    log_variance_bias=0.1, typical_distance=1.2,
                )  # fmt: skip
                weights = 0.3 * random.normal(size=(2, features.shape[1])) / np.maximum(features.std(axis=0), 1e-3)
                predictive = PredictiveDistribution(scalars, weights[0], weights[1])
            points = {"score": (0.1, 0.9), "probability": (0.05, 0.8)} if calibration == "isotonic" and place else {}
            reading = Reading(
                endpoint=endpoint,
                question=endpoint,
                protocol=protocol,
                threshold_says="so",
                calibration=Calibration(
                    method=calibration if place else "platt",
                    slope=1.0 + 0.2 * place,
                    intercept=-0.5,
                    says="so",
                    **points,
                ),
                referral=Referral(kind="conformal", threshold=0.5, one_from=-0.4, zero_to=0.4, says="so"),
                predictive=None if predictive is None else predictive.scalars,
                limit=NumberLimit(number="LVEF", is_yes_below=True, lowest=30 + 10 * place, highest=30 + 10 * place)
                if with_number
                else None,
            )
            score = LinearScore(4 * random.normal(size=dim), 0.5 * place - 0.5)
            readings.append(LoadedReading(reading, score, predictive, np.linspace(0.2, 3, 40 + place)))
    typicality, numbers = typicality_of(features, seed), (_lvef(features),) if with_number else ()
    card = ReadingCard(
        student=student,
        ecg=(ecg or EcgSettings()).model_dump(mode="json"),
        readings=tuple(entry.reading for entry in readings),
        answered_by="expected_echo",
        typical=typicality.limits,
        nested=(tuple(endpoints),),
        numbers=tuple(number.reading for number in numbers),
    )
    distances = np.sort(typicality.distance(features[1::2]))
    return LoadedReadingCard(card, tuple(readings), typicality, distances, numbers)


def _lvef(features: np.ndarray) -> LoadedNumber:
    """LVEF about 48 %, with deviations about 8 %, some of them wider than a guess."""
    scalars = Predictive(
        slope=0.0, intercept=48.0, log_variance=4.0, log_variance_slope=0.5, log_variance_bias=0.0, typical_distance=1.2
    )
    weights = np.random.default_rng(5).normal(size=(2, features.shape[1])) / np.maximum(features.std(axis=0), 1e-3)
    predictive = PredictiveDistribution(scalars, 6 * weights[0], 0.3 * weights[1])
    reading = NumberReading(
        number="LVEF", unit="%", valid_range=(5.0, 90.0), predictive=scalars, widest=10.0, says="so"
    )
    return LoadedNumber(reading, predictive)


def renew_card(workspace: Path) -> None:
    """Writes a card of today's rules over that of the stored workspace, which is of contract 5."""
    from echoingecg.student.store import load

    student, evaluation = (
        workspace / "artefacts" / name.replace("-", "/") for name in (STORED_STUDENT, STORED_EVALUATION)
    )
    noise = np.random.default_rng(0).normal(0, 0.3, (60, 12, 1000)).astype(np.float32)
    mean, _, features = load(student).embed_ecg_with_features(noise)
    ecg = EcgSettings(edge="published")  # that student's own
    nested_card(features, mean.shape[1], student=STORED_STUDENT.partition("-")[2], ecg=ecg).save(evaluation)
    republish(evaluation)
