"""The stress test on the planted student: level 0, refusals, order and company, and what noise does."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from data_contracts.evaluation_details import STRESS
from echoingecg.common import UserError
from echoingecg.ecg.disturbance import DISTURBANCES, process_disturbed
from echoingecg.ecg.quality import strictest_rule
from echoingecg.evaluation.decision.answers import answer_ecgs
from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
from echoingecg.evaluation.evaluate import EvaluationInputs
from echoingecg.evaluation.protocols import stress
from echoingecg.evaluation.protocols.stress import UNDISTURBED, stress_rows
from helpers.cases.evaluation_case import PLANTED_ECG, ArraySignals

QUESTIONS = ("LVEF below 40 %", "LVEF below 50 %")
COUNT = 24
Rows = dict[tuple[str, str, int], dict]


@dataclass(frozen=True)
class Stress:
    """A card, the first ECGs of its evaluation, and the rows of their stress test."""

    card: LoadedReadingCard
    inputs: EvaluationInputs
    labels: dict[str, np.ndarray]
    rows: Rows

    def asked(self, signals: np.ndarray, labels: dict[str, np.ndarray], protocol: str = "expected_echo") -> Rows:
        chosen = np.arange(len(signals))
        made = stress_rows(self.inputs.student, self.card, protocol, ArraySignals(signals), chosen, labels)
        table = STRESS.build(list(made))
        return {(row["endpoint"], row["disturbance"], row["step"]): row for row in table.to_pylist()}


@pytest.fixture(scope="module")
def stressed(inputs: EvaluationInputs, evaluated: Path) -> Stress:
    card = LoadedReadingCard.load(evaluated)
    random = np.random.default_rng(0)
    labels = {name: (random.random(COUNT) < 0.5).astype(float) for name in QUESTIONS}
    for label in labels.values():
        label[:2] = [0, 1]
    labels[QUESTIONS[1]][5:8] = np.nan
    empty = Stress(card, inputs, labels, {})
    return Stress(card, inputs, labels, empty.asked(inputs.signals.read(np.arange(COUNT)), labels))


def few_kinds(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(stress, "DISTURBANCES", {name: DISTURBANCES[name] for name in names})


def test_every_question_has_level_0_and_five_levels_of_every_kind(stressed: Stress) -> None:
    steps = {(UNDISTURBED, 0), *((name, step) for name in DISTURBANCES for step in range(1, 6))}
    assert set(stressed.rows) == {(question, *step) for question in QUESTIONS for step in steps}
    for (question, name, step), row in stressed.rows.items():
        known = np.isfinite(stressed.labels[question]).sum()
        assert (row["protocol"], row["ecgs"]) == ("expected_echo", known)
        if name != UNDISTURBED:
            kind = DISTURBANCES[name]
            assert (row["level"], row["unit"]) == (kind.levels[step - 1], kind.unit)
        assert row["wrong"] <= row["answered"] <= row["typical"] <= 1 - row["refused"] + 1e-12


@pytest.mark.parametrize("question", QUESTIONS)
def test_level_0_is_the_undisturbed_cohort_on_the_same_way(stressed: Stress, question: str) -> None:
    settings = PLANTED_ECG
    signals = stressed.inputs.signals.read(np.arange(COUNT))
    outcome = process_disturbed(signals, None, np.zeros(COUNT), (0,), settings)
    assert outcome.kept.all()
    mean, _, features = stressed.inputs.student.embed_ecg_with_features(outcome.signals)
    is_referred = np.array(
        [
            strictest_rule(quality, findings, settings) == "refer"
            for quality, findings in zip(outcome.quality, outcome.findings.tolist(), strict=True)
        ]
    )
    answers = answer_ecgs(stressed.card, "expected_echo", mean, features, is_referred).questions
    answer = next(one for one in answers if one["endpoint"][0] == question)
    label = stressed.labels[question]
    known = np.isfinite(label)
    told = np.array([advice == "predict" for advice in answer["advice"]]) & known
    row = stressed.rows[question, UNDISTURBED, 0]
    assert row["refused"] == 0
    assert row["answered"] == pytest.approx(told.sum() / known.sum())
    assert row["wrong"] == pytest.approx((told & (answer["decision"] != label)).sum() / known.sum())
    assert row["auroc"] == pytest.approx(roc_auc_score(label[known], answer["score"][known]))
    assert row["typicality"] == pytest.approx(np.median(answer["typicality"][known]))
    assert row["uncertainty"] == pytest.approx(np.exp(np.log(answer["uncertainty"][known]).mean()))


def test_level_0_gives_the_scores_that_the_evaluation_gave(stressed: Stress) -> None:
    """The filter leaves an ECG that passed it nearly as it is, and what is planted in it, too."""
    signals = stressed.inputs.signals.read(np.arange(COUNT))
    settings = PLANTED_ECG
    again = process_disturbed(signals, None, np.zeros(COUNT), (0,), settings).signals
    nobody = np.zeros(COUNT, bool)
    pairs = (
        answer_ecgs(stressed.card, "expected_echo", mean, features, nobody).questions
        for mean, _, features in (stressed.inputs.student.embed_ecg_with_features(of) for of in (signals, again))
    )
    for before, after in zip(*pairs, strict=True):
        np.testing.assert_allclose(after["score"], before["score"], atol=0.03)
        assert (after["decision"] == before["decision"]).mean() > 0.9


def test_a_refused_ecg_counts_as_not_answered(stressed: Stress, monkeypatch: pytest.MonkeyPatch) -> None:
    few_kinds(monkeypatch, "mains")
    signals = stressed.inputs.signals.read(np.arange(COUNT)).copy()
    whole = stressed.asked(signals, stressed.labels)[QUESTIONS[0], UNDISTURBED, 0]
    lost = [0, 3, 4]
    signals[lost] *= 1e-5  # no amplitude at all
    rows = stressed.asked(signals, stressed.labels)
    row = rows[QUESTIONS[0], UNDISTURBED, 0]
    assert (row["ecgs"], row["refused"]) == (COUNT, pytest.approx(3 / COUNT))
    assert row["answered"] <= 1 - 3 / COUNT
    assert whole["answered"] - row["answered"] <= 3 / COUNT + 1e-12
    nobody = stressed.asked(np.zeros_like(signals), stressed.labels)
    for row in nobody.values():
        assert (row["refused"], row["answered"], row["wrong"], row["typical"]) == (1, 0, 0, 0)
        for name in ("wrong_of_answered", "auroc", "probability_excess", "typicality", "uncertainty"):
            assert row[name] is None


def test_a_question_without_labels_has_empty_rows(stressed: Stress, monkeypatch: pytest.MonkeyPatch) -> None:
    few_kinds(monkeypatch)
    signals = stressed.inputs.signals.read(np.arange(4))
    nothing = np.full(4, np.nan)
    row = stressed.asked(signals, {QUESTIONS[0]: nothing})[QUESTIONS[0], UNDISTURBED, 0]
    assert (row["ecgs"], row["answered"], row["auroc"]) == (0, 0, None)
    one_class = stressed.asked(signals, {QUESTIONS[0]: np.ones(4)})[QUESTIONS[0], UNDISTURBED, 0]
    assert one_class["auroc"] is None
    assert one_class["ecgs"] == 4


def test_severe_noise_is_not_answered_and_slight_noise_mostly_is(stressed: Stress) -> None:
    question = QUESTIONS[1]
    start = stressed.rows[question, UNDISTURBED, 0]
    assert start["answered"] > 0.2
    for name in ("muscle noise", "baseline wander", "motion bursts", "lead loss", "gain"):
        severe = stressed.rows[question, name, 5]
        assert severe["answered"] < start["answered"], name
        assert severe["typicality"] is None or severe["typicality"] > start["typicality"], name
    slight = stressed.rows[question, "mains", 1]  # the filter removes it
    assert slight["answered"] == pytest.approx(start["answered"], abs=0.12)


def test_equal_calls_give_equal_rows_and_chunks_do_not_matter(
    stressed: Stress, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_kinds(monkeypatch, "lead loss", "mains")
    signals = stressed.inputs.signals.read(np.arange(6))
    labels = {name: label[:6] for name, label in stressed.labels.items()}
    rows = stressed.asked(signals, labels)
    assert stressed.asked(signals, labels) == rows
    monkeypatch.setattr(stress, "CHUNK", 4)
    other = stressed.asked(signals, labels)
    for name in QUESTIONS:
        assert other[name, UNDISTURBED, 0] == pytest.approx(rows[name, UNDISTURBED, 0])


def test_scores_alone_have_no_deviation(stressed: Stress, monkeypatch: pytest.MonkeyPatch) -> None:
    few_kinds(monkeypatch)
    signals = stressed.inputs.signals.read(np.arange(COUNT))
    rows = stressed.asked(signals, stressed.labels, "zero_shot")
    for row in rows.values():
        assert row["uncertainty"] is None
        assert row["auroc"] is not None


def test_an_unknown_protocol_is_named(stressed: Stress) -> None:
    with pytest.raises(UserError, match="'tea_leaves': this evaluation knows"):
        stressed.asked(stressed.inputs.signals.read(np.arange(2)), {QUESTIONS[0]: np.zeros(2)}, "tea_leaves")


def test_progress_names_the_kinds(stressed: Stress, monkeypatch: pytest.MonkeyPatch) -> None:
    few_kinds(monkeypatch, "mains")
    told: list[tuple[int, int, str]] = []
    list(
        stress_rows(
            stressed.inputs.student, stressed.card, "expected_echo", stressed.inputs.signals, np.arange(2),
            {QUESTIONS[0]: np.zeros(2)}, lambda done, total, note="": told.append((done, total, note)),
        )
    )  # fmt: skip
    assert told == [(1, 6, UNDISTURBED), *((step, 6, "mains") for step in range(2, 7))]
