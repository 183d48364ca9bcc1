"""Labels: comparison, units, impossible values; and which study labels an ECG."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.conventions import ContractError
from data_contracts.pairs import LABELS
from echoingecg.common import RecipeError, no_progress
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.data.models import read_models
from echoingecg.evaluation.protocols.classification import ScoredEndpoint, score_endpoint
from echoingecg.evaluation.protocols.labels import NO_LABEL, label_studies, sex_of_patients
from echoingecg.evaluation.protocols.trust import CohortTrust
from echoingecg.evaluation.report.tables import question
from echoingecg.recipe import Endpoint, EvaluationSettings, Recipe, read_recipe, write_recipe
from echoingecg.recipe.evaluation import ThresholdBySex
from helpers.cases.evaluation_case import NO_FEW_SHOT, lvef_below, make_inputs


def labels_of(*rows: tuple[str, str, float, str]) -> pa.Table:
    return LABELS.build(
        [
            {"study_id": study, "patient_id": "p", "measurement": measurement, "value": value, "unit": unit}
            for study, measurement, value, unit in rows
        ]
    )


def test_every_way_out_is_counted() -> None:
    table = labels_of(
        ("a", "lvef", 39.9, "%"),
        ("b", "lvef", 40.0, "%"),
        ("c", "lvef", 0.39, ""),
        ("d", "lvef", 100.0, "%"),
        ("e", "lvef", 2.0, "%"),
        ("f", "septum", 12.0, "mm"),
        ("g", "lvef", float("nan"), "%"),
        ("h", "lvef", 90.0, "%"),
        ("other", "lvef", 20.0, "%"),
    )
    found = label_studies(lvef_below(40), table, np.array(list("abcdefgh")))
    assert found.label.tolist() == [1, 0, NO_LABEL, NO_LABEL, NO_LABEL, NO_LABEL, NO_LABEL, 0]
    assert (found.absent, found.unit_mismatch, found.impossible, found.known.sum()) == (1, 1, 3, 3)


@pytest.mark.parametrize(
    ("sign", "expected"), [("<", [1, 0, 0]), ("<=", [1, 1, 0]), (">", [0, 0, 1]), (">=", [0, 1, 1])]
)
def test_comparisons(sign: str, expected: list[int]) -> None:
    table = labels_of(("a", "lvef", 39, "%"), ("b", "lvef", 40, "%"), ("c", "lvef", 41, "%"))
    found = label_studies(lvef_below(40, comparison=sign), table, np.array(["a", "b", "c"]))
    assert found.label.tolist() == expected


DILATED = {
    "name": "DVH", "measurement": "lvidd", "unit": "mm", "comparison": ">", "threshold": {"F": 52, "M": 58},
    "valid_range": (20, 110), "positive_prompts": ("DILATED.",), "negative_prompts": ("NORMAL.",),
}  # fmt: skip


def test_a_threshold_for_each_sex_and_no_label_without_one() -> None:
    rows = [(study, "lvidd", value, "mm") for study, value in zip("abcdef", (52, 53, 58, 59, 80, 80), strict=True)]
    table = labels_of(*rows, ("g", "lvidd", 8, "cm"))
    sex = np.array([*"FFMM", "", "X", "F", "M"])
    found = label_studies(Endpoint(**DILATED), table, np.array(list("abcdefgh")), sex)
    assert found.label.tolist() == [0, 1, 0, 1] + 4 * [NO_LABEL]
    assert (found.sex_unknown, found.unit_mismatch, found.absent, found.known.sum()) == (2, 1, 1, 4)
    assert label_studies(Endpoint(**DILATED), table, np.array(["a"])).sex_unknown == 1
    assert question(Endpoint(**DILATED)) == "lvidd > 52 (F), 58 (M) mm"


def test_a_patients_sex_is_what_all_statements_agree_on() -> None:
    patient, sex = np.array(list("aabbccddee")), np.array(["F", "F", "M", "", "F", "M", "", "", "X", "X"])
    assert sex_of_patients(patient, sex) == {"a": "F", "b": "M"}
    assert sex_of_patients(patient, np.full(10, "")) == {}


def test_the_evaluation_takes_the_sex_of_the_patient() -> None:
    """make_subgroups deals the sexes out by patient; some ECGs state nothing, their patient's other one does."""
    by_sex = lvef_below(40).model_copy(update={"threshold": ThresholdBySex(F=30, M=50)})
    settings = EvaluationSettings(endpoints=(by_sex,), few_shot=NO_FEW_SHOT, stress_ecgs=0, bootstrap_draws=10)
    inputs = make_inputs(60)
    pairs = EvaluationPairs.from_inputs(inputs)

    def scored(given: EvaluationInputs) -> ScoredEndpoint:
        models = read_models(given, pairs, settings, no_progress)
        trust = CohortTrust.from_models(given, pairs, models, settings)
        return score_endpoint(by_sex, given, pairs, models, trust, settings)

    result = scored(inputs)
    assert (len(result.label), result.studies.sex_unknown) == (2 * (60 - 2), 0)  # two have an LVEF of 100
    lvef = dict(zip(inputs.labels["study_id"].to_pylist(), inputs.labels["value"].to_pylist(), strict=True))
    record, study = pairs.labelled_ecgs(result.studies.known)
    for at, own in enumerate(study):
        number = int(pairs.patient_id[record[at]].removeprefix("patient-"))
        assert result.label[at] == (lvef[pairs.study_id[own]] < (30 if "FM"[number % 2] == "F" else 50))
    nothing = replace(inputs, subgroups=inputs.subgroups.slice(0, 0))
    unknown = scored(nothing)
    assert (len(unknown.label), unknown.studies.sex_unknown) == (0, result.studies.known.sum())


@pytest.mark.parametrize(
    ("threshold", "says"),
    [
        (5.8, "evaluation.endpoints.0: threshold: 5.8 is outside valid_range, 20 to 110 mm"),
        ({"F": 5.2, "M": 58}, "evaluation.endpoints.0: threshold: 5.2 is outside valid_range, 20 to 110 mm"),
        ({"F": 52}, "evaluation.endpoints.0.threshold.by_sex.M: Field required"),
        ({"F": 52, "M": 58, "X": 55}, "evaluation.endpoints.0.threshold.by_sex.X: unknown key"),
        ({"F": "wide", "M": 58}, "evaluation.endpoints.0.threshold.by_sex.F: Input should be a valid number"),
        ("wide", "evaluation.endpoints.0.threshold.number: Input should be a valid number"),
    ],
)
def test_bad_thresholds_are_one_line(threshold: object, says: str) -> None:
    with pytest.raises(RecipeError) as fault:
        Recipe.parse({"evaluation": {"endpoints": [DILATED | {"threshold": threshold}]}}, "recipe")
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)


def test_both_forms_survive_a_recipe(tmp_path: Path) -> None:
    endpoints = [DILATED, DILATED | {"name": "one for both", "threshold": 60}]
    recipe = Recipe.parse({"evaluation": {"endpoints": endpoints}}, "recipe")
    path = tmp_path / "recipe.yaml"
    path.write_text(write_recipe(recipe), encoding="utf-8")
    assert read_recipe(path) == recipe


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.lists(st.integers(-3, 3), min_size=30, max_size=30))
def test_nearest_pair_against_a_loop(allowed: list[bool], gaps: list[int]) -> None:
    count = len(allowed)
    record, study = np.arange(count) % 4, np.arange(count) // 2
    pairs = EvaluationPairs(*[np.empty(0)] * 6, record, study, np.array(gaps[:count], float))
    expected = []
    for one in range(4):
        own = [at for at in range(count) if allowed[at] and record[at] == one]
        if own:
            expected.append(min(own, key=lambda at: (abs(gaps[at]), study[at])))
    assert pairs.nearest(np.array(allowed)).tolist() == expected


def test_pairs_that_contradict_the_artefacts_are_refused() -> None:
    inputs = make_inputs(20)
    with pytest.raises(ContractError, match="1 ECG identifiers"):
        EvaluationPairs.from_inputs(replace(inputs, record_ids=inputs.record_ids[:-1]))
    with pytest.raises(ContractError, match="1 study identifiers"):
        EvaluationPairs.from_inputs(replace(inputs, studies=inputs.studies.slice(1)))
    swapped = pa.array(["train" if side == "test" else side for side in inputs.patients["split"].to_pylist()])
    patients = inputs.patients.set_column(1, inputs.patients.schema.field(1), swapped)
    with pytest.raises(ContractError, match="leakage"):
        EvaluationPairs.from_inputs(replace(inputs, patients=patients))
