"""Answers of a reading card: intervals, doubts, nested questions; the evaluation answers the same ECGs alike."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from data_contracts.evaluation import ANSWERS, INTERVALS, PREDICTIONS, REGRESSIONS
from data_contracts.prediction import DOUBTS
from echoingecg.common import UserError
from echoingecg.evaluation.decision.answers import answer_ecgs
from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
from echoingecg.evaluation.evaluate import EvaluationInputs, evaluate
from echoingecg.recipe import EvaluationSettings
from helpers.cases.evaluation_case import LVEF, NO_FEW_SHOT, lvef_below, make_inputs
from helpers.cases.reading_cards import NESTED, PROTOCOLS, nested_card

DIM, FEATURES = 6, 5


def typical(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng((6, seed)).normal(1, 1, (count, FEATURES)).astype(np.float32)


def ecgs(count: int = 300, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean embeddings, features and whether a finding refers; every tenth ECG is not typical."""
    mean = np.random.default_rng((7, seed)).normal(size=(count, DIM))
    features = typical(count, seed)
    features[::10] += 12
    mean = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
    return mean, features, np.arange(count) % 7 == 3


def card(**changes: object) -> LoadedReadingCard:
    return nested_card(typical(400, 0), DIM, **changes)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("calibration", ["platt", "isotonic", "none"])
def test_nested_answers_never_contradict(protocol: str, calibration: str) -> None:
    answers = answer_ecgs(card(calibration=calibration), protocol, *ecgs()).questions
    assert [answer["endpoint"][0] for answer in answers] == list(NESTED)
    decision = np.stack([answer["decision"] for answer in answers])
    assert (np.diff(decision, axis=0) >= 0).all()
    assert len(np.unique(decision, axis=1).T) == 4
    known = [answer["probability"] for answer in answers if answer["probability"][0] is not None]
    assert len(known) == (1 if calibration == "none" else 3)
    assert (np.diff(np.stack(known), axis=0) >= 0).all()
    contradictory = [["contradictory" in doubts for doubts in answer["doubts"]] for answer in answers]
    assert np.any(contradictory)


def test_without_the_chain_the_same_answers_would_contradict() -> None:
    own = card()
    alone = replace(own, card=own.card.model_copy(update={"nested": ()}))
    decision = np.stack([answer["decision"] for answer in answer_ecgs(alone, "expected_echo", *ecgs()).questions])
    assert (np.diff(decision, axis=0) < 0).any()


@pytest.mark.parametrize("calibration", ["platt", "isotonic", "none"])
def test_a_probability_stands_within_its_interval(calibration: str) -> None:
    for protocol in PROTOCOLS:
        for answer in answer_ecgs(card(calibration=calibration), protocol, *ecgs()).questions:
            if answer["low"][0] is None:
                assert protocol == "zero_shot" or calibration != "platt"
                continue
            assert (answer["low"] <= answer["probability"]).all()
            assert (answer["probability"] <= answer["high"]).all()
            assert ((answer["low"] >= 0) & (answer["high"] <= 1)).all()


def test_an_interval_holds_the_middle_90_percent_of_what_the_echo_may_say() -> None:
    own = card()
    alone = replace(own, card=own.card.model_copy(update={"nested": ()}))
    mean, features, is_referred = ecgs(3)
    random = np.random.default_rng(5)
    assert own.typicality is not None
    for answer, entry in zip(
        answer_ecgs(alone, "expected_echo", mean, features, is_referred).questions,
        own.readings_under("expected_echo"),
        strict=True,
    ):
        assert entry.predictive is not None
        by, scalars = entry.reading.calibration, entry.predictive.scalars
        centre = (
            scalars.slope * entry.score.log_odds(mean) + scalars.intercept + features @ entry.predictive.mean_weight
        )
        for row in range(3):
            deviation = answer["uncertainty"][row]
            echo = random.normal(centre[row], deviation, 200_000)
            drawn = expit(by.slope * (echo - logit(entry.reading.referral.threshold)) / deviation + by.intercept)
            outside = (drawn < answer["low"][row]).mean(), (drawn > answer["high"][row]).mean()
            np.testing.assert_allclose(outside, 0.05, atol=0.0025)  # five standard errors
            assert answer["probability"][row] == pytest.approx(np.median(drawn), abs=0.005)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_who_is_referred_has_a_doubt_and_who_is_not_has_none(protocol: str) -> None:
    mean, features, is_referred = ecgs()
    own = card()
    assert own.typicality is not None
    seen: set[str] = set()
    for answer in answer_ecgs(own, protocol, mean, features, is_referred).questions:
        for row, doubts in enumerate(answer["doubts"]):
            assert (answer["advice"][row] == "predict") == (doubts == [])
            assert doubts == [doubt for doubt in DOUBTS if doubt in doubts], "in the order of the contract"
            assert ("finding" in doubts) == is_referred[row]
            seen |= set(doubts)
        strange = np.array(["not typical" in doubts for doubts in answer["doubts"]])
        np.testing.assert_array_equal(strange, ~own.typicality.is_typical(features))
        np.testing.assert_allclose(answer["typicality"], own.typicality.distance(features))
        assert strange[::10].all()
        assert 0.2 < np.mean(np.array(answer["advice"]) == "predict") < 0.95
    assert seen == set(DOUBTS) - {"number contradicts"}


def test_scores_alone_have_no_uncertainty_and_predictions_have_one() -> None:
    for answer in answer_ecgs(card(), "zero_shot", *ecgs()).questions:
        assert set(answer["uncertainty"]) == set(answer["uncertainty_percentile"]) == {None}
    for answer in answer_ecgs(card(), "expected_echo", *ecgs()).questions:
        assert (answer["uncertainty"] > 0).all()
        assert ((answer["uncertainty_percentile"] >= 0) & (answer["uncertainty_percentile"] <= 100)).all()
        order = np.argsort(answer["uncertainty"])
        assert (np.diff(answer["uncertainty_percentile"][order]) >= 0).all()


def test_without_a_measure_of_typicality_everything_is_referred() -> None:
    own = card()
    blind = replace(
        own,
        readings=tuple(entry for entry in own.readings if entry.predictive is None),
        typicality=None,
        distances=np.empty(0),
    )
    for answer in answer_ecgs(blind, "zero_shot", *ecgs()).questions:
        assert set(answer["advice"]) == {"refer"}
        assert all("not typical" in doubts for doubts in answer["doubts"])
        assert set(answer["typicality"]) == set(answer["typicality_percentile"]) == {None}
    with pytest.raises(UserError, match="this evaluation knows zero_shot"):
        answer_ecgs(blind, "expected_echo", *ecgs())


def test_no_ecg_gives_empty_columns() -> None:
    nothing = np.empty((0, DIM), np.float32), np.empty((0, FEATURES), np.float32), np.empty(0, bool)
    for protocol in PROTOCOLS:
        for answer in answer_ecgs(card(calibration="none"), protocol, *nothing).questions:
            assert {len(values) for values in answer.values()} == {0}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_order_and_company_do_not_matter(protocol: str) -> None:
    mean, features, is_referred = ecgs(40)
    together = answer_ecgs(card(), protocol, mean, features, is_referred).questions
    back = answer_ecgs(card(), protocol, mean[::-1], features[::-1], is_referred[::-1]).questions
    for whole, turned in zip(together, back, strict=True):
        for name, values in whole.items():
            assert list(values) == list(turned[name])[::-1] or np.allclose(
                np.array(values, float), np.array(turned[name], float)[::-1], rtol=1e-12
            )
    for row in range(0, 40, 7):
        one = slice(row, row + 1)
        for whole, alone in zip(
            together, answer_ecgs(card(), protocol, mean[one], features[one], is_referred[one]).questions, strict=True
        ):
            assert (alone["advice"][0], alone["doubts"][0]) == (whole["advice"][row], whole["doubts"][row])
            assert alone["probability"][0] == pytest.approx(whole["probability"][row], abs=1e-12)


@pytest.fixture(scope="module")
def some_referred() -> EvaluationInputs:
    """The planted case with a finding in every eighth ECG."""
    inputs = make_inputs(120)
    use = ["refer" if number % 8 == 0 else "keep" for number in range(inputs.records.num_rows)]
    place = inputs.records.schema.get_field_index("use")
    records = inputs.records.set_column(place, inputs.records.schema.field("use"), [use])
    return replace(inputs, records=records)


@pytest.mark.parametrize(
    "calibration", ["validation", *(pytest.param(one, marks=pytest.mark.slow) for one in ("platt", "isotonic", "none"))]
)
def test_the_evaluation_gives_the_answers_of_its_card(
    some_referred: EvaluationInputs, calibration: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """ANSWERS and PREDICTIONS row by row, for three nested questions and every protocol of the card."""
    folder = tmp_path_factory.mktemp("answers")
    settings = EvaluationSettings(
        endpoints=tuple(lvef_below(value) for value in (50, 40, 45)),
        regressions=(LVEF,),
        bootstrap_draws=10,
        few_shot=NO_FEW_SHOT,
        stress_ecgs=0,
        calibration=calibration,
        miscoverage=0.2,
    )
    evaluate(some_referred, settings, folder)
    own = LoadedReadingCard.load(folder)
    assert own.card.nested == (("LVEF below 40 %", "LVEF below 45 %", "LVEF below 50 %"),)
    assert own.card.answered_by == "expected_echo"
    signals, use = some_referred.signals, some_referred.records["use"].to_pylist()
    mean, _, features = some_referred.student.embed_ecg_with_features(signals.read(np.arange(len(signals))))
    row_of = {name: row for row, name in enumerate(some_referred.record_ids)}
    is_referred = np.array([word == "refer" for word in use])
    judged = PREDICTIONS.read(folder).to_pandas().merge(ANSWERS.read(folder).to_pandas())
    for protocol in ("zero_shot", "zero_shot_teacher", "expected_echo", "linear_probe"):
        for answer in answer_ecgs(own, protocol, mean, features, is_referred).questions:
            of = judged[(judged["protocol"] == protocol) & (judged["endpoint"] == answer["endpoint"][0])]
            rows = np.array([row_of[name] for name in of["record_id"]])
            assert len(rows) > 200
            np.testing.assert_allclose(answer["score"][rows], of["score"], atol=1e-6)
            np.testing.assert_array_equal(answer["decision"][rows], of["decision"])
            assert np.array(answer["advice"])[rows].tolist() == of["advice"].tolist()
            probability = np.array(answer["probability"], float)[rows]
            np.testing.assert_allclose(probability, of["probability"], atol=1e-4)  # a calibrator may be steep
            assert of["probability"].isna().all() == (answer["probability"][0] is None)
            if protocol == "expected_echo":
                np.testing.assert_allclose(answer["uncertainty"][rows], of["deviation"], rtol=1e-5)
            assert set(of["advice"]) == {"predict", "refer"}
    (number,) = answer_ecgs(own, own.card.answered_by, mean, features, is_referred).numbers
    of = INTERVALS.read(folder).to_pandas()
    rows = np.array([row_of[name] for name in of["record_id"]])
    for name in ("low", "high", "deviation"):
        np.testing.assert_allclose(number[name][rows], of[name], rtol=1e-5)
    assert np.array(number["advice"])[rows].tolist() == of["advice"].tolist()
    told = REGRESSIONS.read(folder).to_pandas().query("protocol == 'expected_number'")
    assert told["record_id"].tolist() == of["record_id"].tolist()
    np.testing.assert_allclose(number["value"][rows], told["predicted"], rtol=1e-5)
