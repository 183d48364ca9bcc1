"""Yes/no questions: one endpoint through every protocol, with scores, threshold, decisions and rows of the tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from scipy.special import expit

from data_contracts.prediction import NumberLimit, Reading
from echoingecg.evaluation.data import names
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.data.models import LinearScore, Models
from echoingecg.evaluation.decision import calibration, reading_card, threshold_and_referral
from echoingecg.evaluation.decision.nested import ConsistentDistance, chains, consistent_distances, project_by_name
from echoingecg.evaluation.decision.numbers import LoadedNumber, contradicts, limits_of_questions
from echoingecg.evaluation.decision.predictive import ExpectedEcho, PredictiveDistribution, expected_echo
from echoingecg.evaluation.metrics.classification import log_odds
from echoingecg.evaluation.metrics.selective import subgroup_levels
from echoingecg.evaluation.protocols import labels, zero_shot_and_probe
from echoingecg.evaluation.protocols.trust import CohortTrust
from echoingecg.recipe import Endpoint, EvaluationSettings
from echoingecg.recipe.evaluation import TuningMethod

SHOWN_PROTOCOLS = (names.ZERO_SHOT, names.ZERO_SHOT_TEACHER, names.EXPECTED_ECHO, names.LINEAR_PROBE)


class Attempt(NamedTuple):
    """Scores of a protocol for the n labelled ECGs, or the reason why there are none.

    Attributes:
        protocol: name in the tables.
        score: (n,) float64, or Skipped.
        linear_score: linear in the mean embedding of the student under test; it, or what `predictive` makes of it,
            gives the scores. None for another model.
        predictive: of the echo's log-odds; None where the score alone decides.
        steepness: by how much the log-odds change at most when the features move by 1.
        reading: of a reading card whose choices hold; None to choose on validation.
    """

    protocol: str
    score: np.ndarray | names.Skipped
    linear_score: LinearScore | None = None
    predictive: PredictiveDistribution | None = None
    steepness: float = 1.0
    reading: Reading | None = None

    @classmethod
    def from_linear_score(
        cls, protocol: str, score: LinearScore | names.Skipped, features: np.ndarray, own: bool
    ) -> Self:
        """Scores of features (n, f); `own`: they are the mean embedding of the student under test."""
        if isinstance(score, names.Skipped):
            return cls(protocol, score)
        return cls(protocol, score.scores(features), score if own else None, steepness=score.steepness)


@dataclass(frozen=True)
class ProtocolResult:
    """Scores and decisions of one protocol, for all splits.

    Attributes:
        attempt: the scores, and where they come from.
        score: (n,) float64.
        threshold: chosen on the validation split.
        echo: expected log-odds of the echo for each ECG.
        consistent: distances to the threshold in deviations, made consistent with nested questions.
        is_contradicted: (n,) bool, whether a number of the reading card contradicts the decision.
        choices: chosen on the validation split.
        probability: (n,) float64, calibrated and consistent with nested questions; None where it is not calibrated.
    """

    attempt: Attempt
    score: np.ndarray
    threshold: threshold_and_referral.Threshold
    echo: ExpectedEcho
    consistent: ConsistentDistance
    is_contradicted: np.ndarray
    choices: reading_card.ValidationChoices
    probability: np.ndarray | None

    @property
    def protocol(self) -> str:
        """Name in the tables."""
        return self.attempt.protocol

    @property
    def decision(self) -> np.ndarray:
        """Decision for each ECG, (n,) int8."""
        return threshold_and_referral.decide(self.consistent.distance)

    @property
    def is_decided(self) -> np.ndarray:
        """Whether the scores allow one answer alone, and nothing contradicts it, (n,) bool."""
        distance, is_kept, rounding = self.consistent
        is_decided = threshold_and_referral.is_decided(self.choices.referral, distance, rounding)
        return is_decided & is_kept & ~self.is_contradicted


@dataclass(frozen=True)
class ScoredEndpoint:
    """One endpoint before decisions: n labelled ECGs.

    Attributes:
        endpoint: the question.
        measured: labels of all ECGs, and why the others have none.
        record: (n,) int64 into the paired ECGs.
        record_id, patient_id, split: (n,) str.
        label: (n,) int8, 0 or 1.
        gap_hours: (n,) float64, ECG time minus exam time.
        uncertainty: (n,) float64, mean over dimensions of the ECG's log-variance.
        is_answerable: (n,) bool, typical ECGs without a finding that refers.
        attempts: of the protocols that ran.
        skipped: reason for each protocol that did not run.
        few_shot: results by model.
    """

    endpoint: Endpoint
    measured: labels.MeasuredLabels
    record: np.ndarray
    record_id: np.ndarray
    patient_id: np.ndarray
    split: np.ndarray
    label: np.ndarray
    gap_hours: np.ndarray
    uncertainty: np.ndarray
    is_answerable: np.ndarray
    attempts: tuple[Attempt, ...]
    skipped: dict[str, str]
    few_shot: dict[str, list[zero_shot_and_probe.FewShot]]

    @property
    def test(self) -> np.ndarray:
        """Whether each ECG is in the test split, (n,) bool."""
        return self.split == "test"


@dataclass(frozen=True)
class EndpointResult(ScoredEndpoint):
    """One endpoint with the decisions of every protocol that ran."""

    protocols: tuple[ProtocolResult, ...]


def score_endpoint(
    endpoint: Endpoint, inputs: EvaluationInputs, pairs: EvaluationPairs, models: Models, trust: CohortTrust,
    settings: EvaluationSettings, card: reading_card.LoadedReadingCard | None = None,
) -> ScoredEndpoint:  # fmt: skip
    """Labels the ECGs and scores them by every protocol. Test labels are measured on, never learned from.

    Args:
        endpoint: the question.
        inputs: of the stage.
        pairs: of the same inputs.
        models: what every model makes of the same pairs.
        trust: what speaks for and against answers about the same ECGs.
        settings: of all protocols.
        card: whose protocols alone are scored; None for all.
    """
    measured = labels.label_ecgs(endpoint, inputs.labels, pairs.record_id, sex_of_ecgs(inputs, pairs))
    record = np.flatnonzero(measured.known)
    label, split, patient = measured.label[record], pairs.split[record], pairs.patient_id[record]
    if card is None:
        attempts = list(_attempts(endpoint, inputs, pairs, models, trust, settings, record, label))
    else:
        attempts = list(_attempts_of_card(card, endpoint.name, trust, record))
    return ScoredEndpoint(
        endpoint=endpoint,
        measured=measured,
        record=record,
        record_id=pairs.record_id[record],
        patient_id=patient,
        split=split,
        label=label,
        gap_hours=measured.gap_hours[record],
        uncertainty=models.ecgs.uncertainty[record],
        is_answerable=trust.is_answerable[record],
        attempts=tuple(attempt for attempt in attempts if not isinstance(attempt.score, names.Skipped)),
        skipped={
            attempt.protocol: attempt.score.reason for attempt in attempts if isinstance(attempt.score, names.Skipped)
        },
        few_shot={
            model: zero_shot_and_probe.few_shot(
                features[record], label, patient, split, settings.few_shot, settings.seed
            )
            for model, features in models.features.items()
        },
    )


def decide_endpoints(
    scored: Sequence[ScoredEndpoint],
    trust: CohortTrust,
    settings: EvaluationSettings,
    numbers: Sequence[LoadedNumber] = (),
    card: reading_card.LoadedReadingCard | None = None,
) -> list[EndpointResult]:
    """Chooses thresholds and rules on validation, and decides; decisions of nested questions do not contradict.

    Args:
        scored: all endpoints.
        trust: of the same cohort.
        settings: of all protocols.
        numbers: of the reading card; its answers are held against them.
        card: whose thresholds and rules hold instead.
    """
    expected = {number.reading.number: trust.expected_number(number.predictive) for number in numbers}
    limits = limits_of_questions(
        [endpoint.endpoint for endpoint in scored], [entry for entry in settings.regressions if entry.name in expected]
    )
    nested = chains([endpoint.endpoint for endpoint in scored]) if card is None else card.card.nested
    decided: dict[str, list[ProtocolResult]] = {endpoint.endpoint.name: [] for endpoint in scored}
    for protocol in dict.fromkeys(attempt.protocol for endpoint in scored for attempt in endpoint.attempts):
        of_protocol = {
            endpoint.endpoint.name: _Undecided.from_attempt(endpoint, attempt, trust)
            for endpoint in scored
            for attempt in endpoint.attempts
            if attempt.protocol == protocol
        }
        distances = {
            name: undecided.echo.distance(undecided.threshold.value) for name, undecided in of_protocol.items()
        }
        rounding = {name: undecided.echo.rounding for name, undecided in of_protocol.items()}
        results = {
            name: of_protocol[name].decided(consistent, settings, limits.get(name), expected)
            for name, consistent in consistent_distances(distances, rounding, nested).items()
        }
        calibrated = {name: result.probability for name, result in results.items() if result.probability is not None}
        probabilities = project_by_name(calibrated, nested)
        for name, result in results.items():
            decided[name].append(replace(result, probability=probabilities.get(name)))
    return [EndpointResult(**vars(endpoint), protocols=tuple(decided[endpoint.endpoint.name])) for endpoint in scored]


@dataclass(frozen=True)
class _Undecided:
    """Scores of one protocol for one endpoint, with what precedes the decisions; attributes as in ProtocolResult."""

    endpoint: ScoredEndpoint
    attempt: Attempt
    score: np.ndarray
    threshold: threshold_and_referral.Threshold
    echo: ExpectedEcho

    @classmethod
    def from_attempt(cls, endpoint: ScoredEndpoint, attempt: Attempt, trust: CohortTrust) -> Self:
        assert not isinstance(attempt.score, names.Skipped)
        score, validation = attempt.score, endpoint.split == "validation"
        if attempt.reading is None:
            threshold = threshold_and_referral.choose_threshold(endpoint.label[validation], score[validation])
        else:
            threshold = threshold_and_referral.Threshold(
                attempt.reading.referral.threshold, attempt.reading.threshold_says
            )
        if attempt.linear_score is None:
            echo = expected_echo(None, trust.values(log_odds(score), endpoint.record), attempt.steepness)
        else:
            echo = trust.expected_echo(attempt.linear_score, attempt.predictive, endpoint.record)
        return cls(endpoint, attempt, score, threshold, echo)

    def decided(
        self,
        consistent: ConsistentDistance,
        settings: EvaluationSettings,
        limit: NumberLimit | None,
        numbers: Mapping[str, ExpectedEcho],
    ) -> ProtocolResult:
        """Chooses the rules on the validation ECGs.

        Args:
            consistent: as in ProtocolResult.
            settings: of all protocols.
            limit: where the question parts the values of a number.
            numbers: of all paired ECGs, by name.
        """
        endpoint = self.endpoint
        if self.attempt.linear_score is None:  # not on the card
            limit = None
        of_ecgs = {name: number[endpoint.record] for name, number in numbers.items()}
        is_contradicted = contradicts(limit, of_ecgs, threshold_and_referral.decide(consistent.distance))
        validation = endpoint.split == "validation"
        own = self.echo.distance(self.threshold.value)
        ecgs = calibration.CalibrationEcgs(endpoint.label, endpoint.patient_id, self.score, own)
        if self.attempt.reading is None:
            choices = reading_card.choose_on_validation(
                ecgs[validation],
                consistent.distance[validation],
                endpoint.is_answerable[validation],
                self.threshold.value,
                settings,
            )
        else:
            choices = reading_card.ValidationChoices.of_card(self.attempt.reading)
        probability = calibration.calibrate(choices.calibration, self.score, own)
        return ProtocolResult(
            self.attempt, self.score, self.threshold, self.echo, consistent, is_contradicted, choices, probability
        )


def _attempts_of_card(
    card: reading_card.LoadedReadingCard, endpoint: str, trust: CohortTrust, record: np.ndarray
) -> Iterator[Attempt]:
    """Attempts of the protocols under which a reading card has the question."""
    entries = [entry for entry in card.readings if entry.reading.endpoint == endpoint]
    for entry in entries:
        echo = trust.expected_echo(entry.score, entry.predictive, record)
        score, steepness = expit(echo.mean), entry.score.steepness
        yield Attempt(entry.reading.protocol, score, entry.score, entry.predictive, steepness, entry.reading)
    if not entries:
        yield Attempt(names.ZERO_SHOT, names.Skipped("the reading card has no question of this name"))


def sex_of_ecgs(inputs: EvaluationInputs, pairs: EvaluationPairs) -> np.ndarray:
    """Sex of each ECG's patient, (r,) str: F, M, or empty where it is not known."""
    stated = subgroup_levels(pairs.record_id, inputs.subgroups, inputs.records, ()).get("sex")
    sex = {} if stated is None else labels.sex_of_patients(pairs.patient_id, stated)
    return np.array([sex.get(name, "") for name in pairs.patient_id.tolist()], dtype="<U1")


def _attempts(
    endpoint: Endpoint, inputs: EvaluationInputs, pairs: EvaluationPairs, models: Models, trust: CohortTrust,
    settings: EvaluationSettings, record: np.ndarray, label: np.ndarray,
) -> Iterator[Attempt]:  # fmt: skip
    """Attempts of all protocols, in the order of the tables."""
    split = pairs.split[record]
    zero_shots: list[LinearScore] = []  # by the student's own text tower, then by the teacher's
    for protocol, space in models.prompted(names.ZERO_SHOT):
        if isinstance(space, names.Skipped):
            yield Attempt(protocol, space)
            continue
        positive, negative = space.encode_text(endpoint.positive_prompts), space.encode_text(endpoint.negative_prompts)
        zero_shot = zero_shot_and_probe.zero_shot_linear_score(positive, negative, space.scale)
        yield Attempt.from_linear_score(protocol, zero_shot, space.ecgs.mean[record], space.ecgs is models.ecgs)
        zero_shots += [zero_shot] if space.ecgs is models.ecgs else []
    yield _expected_echo(zero_shots[-1], trust, record)
    for model, features in models.features.items():
        probe = zero_shot_and_probe.fit_linear_probe(features[record], label, split == "train", settings.probe_c)
        yield Attempt.from_linear_score(
            names.at_model(names.LINEAR_PROBE, model), probe, features[record], model == names.STUDENT
        )
    for method in settings.tuning.methods:
        yield Attempt(method, _tuned(method, inputs, pairs.signal_row[record], label, split, settings))
    measured = models.measurements[record]
    probe = zero_shot_and_probe.fit_linear_probe(measured, label, split == "train", settings.probe_c)
    yield Attempt.from_linear_score(names.ECG_MEASUREMENTS, probe, measured, own=False)


def _expected_echo(score: LinearScore, trust: CohortTrust, record: np.ndarray) -> Attempt:
    """The zero-shot answer that the echo itself is expected to get, by the teacher's texts where it reads any."""
    predictive = trust.predictive_of_question(score)
    if isinstance(predictive, names.Skipped):
        return Attempt(names.EXPECTED_ECHO, predictive)
    echo = trust.expected_echo(score, predictive, record)
    return Attempt(names.EXPECTED_ECHO, expit(echo.mean), score, predictive)


def _tuned(
    method: TuningMethod, inputs: EvaluationInputs, row: np.ndarray, label: np.ndarray, split: np.ndarray,
    settings: EvaluationSettings,
) -> np.ndarray | names.Skipped:  # fmt: skip
    for side in ("train", "validation"):
        if len(np.unique(label[split == side])) < 2:
            return names.Skipped(f"the {side} split lacks a class, so nothing can be learned or stopped")

    def read(chosen: np.ndarray) -> np.ndarray:
        return inputs.signals.read(row[chosen])

    return inputs.student.classify(method, read, label, split, settings.tuning, settings.seed)
