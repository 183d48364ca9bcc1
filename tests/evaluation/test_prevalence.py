"""Probabilities corrected to a stated prevalence: in a cohort where the finding is rarer, against counts by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.evaluation import ANSWERS, PREDICTIONS, REPORT
from data_contracts.evaluation_details import TRANSFER
from data_contracts.pairs import PATIENTS
from echoingecg.common import RecipeError, UserError
from echoingecg.evaluation.decision.reading_card import LoadedReadingCard
from echoingecg.evaluation.evaluate import evaluate
from echoingecg.evaluation.metrics.transfer import shifted_probability
from echoingecg.recipe import EvaluationSettings, Recipe
from helpers.cases.evaluation_case import make_inputs

NAME = "LVEF below 50 %"
PROTOCOLS = ("expected_echo", "zero_shot")


def thinned(share: float) -> dict:
    """Another cohort of the same kind of hearts, all of them tested, with this share of its positives kept."""
    inputs = make_inputs(patients=400, seed=9)
    labels = inputs.labels.to_pandas()
    is_kept = (labels["value"] >= 50) | (np.random.default_rng(0).uniform(size=len(labels)) < share)
    patients = inputs.patients.to_pandas().assign(split="test")
    ecg_echo = inputs.ecg_echo.to_pandas().assign(split="test")
    kept = labels[is_kept].assign(split="test")
    return {
        "inputs": replace(
            inputs,
            patients=PATIENTS.check(pa.Table.from_pandas(patients, PATIENTS.schema, preserve_index=False)),
            ecg_echo=pa.Table.from_pandas(ecg_echo, inputs.ecg_echo.schema, preserve_index=False),
            labels=pa.Table.from_pandas(kept, inputs.labels.schema, preserve_index=False),
        ),
        "share": float((kept["value"] < 50).mean()),
    }


@pytest.fixture(scope="module")
def corrected(evaluated: Path, settings: EvaluationSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cohort, folder = thinned(0.2), tmp_path_factory.mktemp("corrected")
    asked = settings.model_copy(update={"target_prevalences": {NAME: cohort["share"]}, "stress_ecgs": 0})
    evaluate(cohort["inputs"], asked, folder, given_card=LoadedReadingCard.load(evaluated))
    return folder


def rows_of(folder: Path, protocol: str) -> dict[tuple[str, float | None], dict]:
    rows = TRANSFER.read(folder).to_pylist()
    return {(row["metric"], row["at"]): row for row in rows if (row["endpoint"], row["protocol"]) == (NAME, protocol)}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_corrected_probabilities_by_hand(protocol: str, corrected: Path, evaluated: Path) -> None:
    judged = PREDICTIONS.read(corrected).to_pandas().merge(ANSWERS.read(corrected).to_pandas())
    judged = judged[(judged["endpoint"] == NAME) & (judged["protocol"] == protocol) & (judged["split"] == "test")]
    before = PREDICTIONS.read(evaluated).to_pandas()
    before = before[(before["endpoint"] == NAME) & (before["protocol"] == protocol) & (before["split"] == "validation")]
    old, new = before["label"].mean(), judged["label"].mean()
    assert new < 0.5 * old
    right = []
    for probability in judged["probability"]:
        weighed = probability * new / old, (1 - probability) * (1 - new) / (1 - old)
        right.append(weighed[0] / sum(weighed))
    rows = rows_of(corrected, protocol)
    (shown,) = [row for (metric, _), row in rows.items() if metric == "observed_to_expected_corrected"]
    assert shown["at"] == pytest.approx(new, abs=0.02), "the stated share; ECGs with an impossible LVEF have no label"
    stated = shown["at"]
    right = [
        probability * stated * (1 - old) / (probability * stated * (1 - old) + (1 - probability) * (1 - stated) * old)
        for probability in judged["probability"]
    ]
    assert shown["value"] == pytest.approx(judged["label"].sum() / sum(right))
    label = judged["label"].to_numpy()
    for threshold in (0.05, 0.2):
        called = np.array(right) >= threshold
        by_hand = (called & (label == 1)).mean() - (called & (label == 0)).mean() * threshold / (1 - threshold)
        assert rows["net_benefit_corrected", threshold]["value"] == pytest.approx(by_hand)
    before_and_after = [rows["observed_to_expected", None]["value"], shown["value"]]
    assert abs(np.log(before_and_after[1])) < 0.5 * abs(np.log(before_and_after[0])), "it mends what a shift has done"
    lines = [
        rows[name]["value"] for name in (("calibration_intercept", None), ("calibration_intercept_corrected", stated))
    ]
    assert abs(lines[1]) < 0.5 * abs(lines[0])
    net = [rows[name, 0.1]["value"] for name in ("net_benefit", "net_benefit_corrected")]
    assert net[1] >= net[0]
    page = (corrected / REPORT).read_text(encoding="utf-8")
    assert f"Observed over expected, corrected to a share of {100 * stated:g} %" in page
    assert "Net benefit, echo from a corrected probability of 5 %" in page


def test_a_shift_by_hand() -> None:
    """Odds of 4 to 1 where half have the finding are 1 to 1 where a fifth have it, and 1 to 4 where a 17th."""
    shifted = [shifted_probability(np.array([0.8, 0.5]), 0.5, to) for to in (0.2, 0.5, 1 / 17)]
    np.testing.assert_allclose(shifted, [[0.5, 0.2], [0.8, 0.5], [0.2, 1 / 17]], rtol=1e-6)


def test_nothing_is_corrected_unless_a_share_is_stated(evaluated: Path, corrected: Path) -> None:
    assert not [row for row in TRANSFER.read(evaluated).to_pylist() if row["metric"].endswith("_corrected")]
    rows = [row for row in TRANSFER.read(corrected).to_pylist() if row["metric"].endswith("_corrected")]
    assert {row["endpoint"] for row in rows} == {NAME}


def test_what_cannot_be_corrected_is_one_line(evaluated: Path, settings: EvaluationSettings, tmp_path: Path) -> None:
    card = LoadedReadingCard.load(evaluated)
    old = tuple(
        replace(entry, reading=entry.reading.model_copy(update={"prevalence": None})) for entry in card.readings
    )
    asked = settings.model_copy(update={"target_prevalences": {NAME: 0.1}})
    with pytest.raises(UserError, match="of an earlier release, does not state the share of label 1") as fault:
        evaluate(make_inputs(20), asked, tmp_path, given_card=replace(card, readings=old))
    assert "\n" not in str(fault.value)
    assert not list(tmp_path.iterdir())
    for stated, says in (({"nothing of ours": 0.1}, "no endpoint is called 'nothing of ours'"), ({NAME: 1.0}, "less")):
        values = {"evaluation": settings.model_dump(mode="json") | {"target_prevalences": stated}}
        with pytest.raises(RecipeError, match=says):
            Recipe.parse(values, "test")
