"""Labels: comparison, units, impossible values, ranges, words."""

from dataclasses import replace
from pathlib import Path
from typing import Any

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
from echoingecg.evaluation.protocols.labels import (
    NO_LABEL,
    OUTCOMES,
    ecg_values,
    label_ecgs,
    label_rows,
    sex_of_patients,
)
from echoingecg.evaluation.protocols.trust import CohortTrust
from echoingecg.evaluation.report.tables import question
from echoingecg.recipe import Endpoint, EvaluationSettings, Recipe, read_recipe, write_recipe
from echoingecg.recipe.evaluation import ThresholdBySex
from flows.request import find_recipe
from helpers.cases.evaluation_case import LVEF, NO_FEW_SHOT, lvef_below, make_inputs


def labels_of(*rows: tuple[Any, ...]) -> pa.Table:
    """LABELS of rows: record, measurement, value or words, unit, and the upper end of a range."""
    nothing = dict.fromkeys(LABELS.schema.names) | {"patient_id": "p", "split": "test", "gap_hours": 0.0}
    return LABELS.build(
        [
            nothing
            | {"record_id": record, "measurement": measurement, "unit": unit, "upper": upper[0] if upper else None}
            | {"words" if isinstance(value, str) else "value": value}
            for record, measurement, value, unit, *upper in rows
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
        ("i", "lvef", "normal", ""),
        ("j", "lvef", 35.0, "%", 45.0),
        ("other", "lvef", 20.0, "%"),
    )
    found = label_ecgs(lvef_below(40), table, np.array(list("abcdefghij")))
    assert found.label.tolist() == [1, 0, *5 * [NO_LABEL], 0, *2 * [NO_LABEL]]
    expected = {"absent": 1, "unit_mismatch": 1, "impossible": 3, "other_words": 1, "between": 1, "labelled": 3}
    assert found.counts() == expected | {"sex_unknown": 0}
    assert sum(found.counts().values()) == 10


@pytest.mark.parametrize(
    ("sign", "expected"), [("<", [1, 0, 0]), ("<=", [1, 1, 0]), (">", [0, 0, 1]), (">=", [0, 1, 1])]
)
def test_comparisons(sign: str, expected: list[int]) -> None:
    table = labels_of(("a", "lvef", 39, "%"), ("b", "lvef", 40, "%"), ("c", "lvef", 41, "%"))
    found = label_ecgs(lvef_below(40, comparison=sign), table, np.array(["a", "b", "c"]))
    assert found.label.tolist() == expected


def test_a_range_is_its_middle_unless_the_threshold_lies_inside() -> None:
    table = labels_of(
        ("a", "lvef", 35, "%", 40), ("b", "lvef", 40, "%", 45), ("c", "lvef", 38, "%", 43), ("d", "lvef", 60, "%", 50)
    )
    found = label_ecgs(lvef_below(40), table, np.array(list("abcd")))
    assert found.label.tolist() == [1, 0, NO_LABEL, NO_LABEL]
    assert found.known.tolist() == [True, True, False, False]
    assert found.value[:2].tolist() == [37.5, 42.5]
    assert (found.counts()["between"], found.counts()["impossible"]) == (1, 1), "an upper end below the lower one"
    values = ecg_values(LVEF, table, np.array(list("abcd")))
    assert values.value[:3].tolist() == [37.5, 42.5, 40.5]
    assert values.counts()["labelled"] == 3


WALL = {
    "name": "thick", "measurement": ["ivs", "lvpw"], "unit": "mm", "comparison": ">=", "threshold": 15,
    "valid_range": (3, 40), "positive_prompts": ("THICK.",), "negative_prompts": ("THIN.",),
}  # fmt: skip


def test_units_of_one_kind_are_converted() -> None:
    thick = Endpoint.model_validate(WALL | {"measurement": "ivs"})
    stated = {"a": (1.5, "cm"), "b": (1.4, "cm"), "c": (15.0, "MM"), "d": (1.5, "m/s"), "e": (1.5, "mm")}
    table = labels_of(*[(name, "ivs", value, unit) for name, (value, unit) in stated.items()])
    found = label_ecgs(thick, table, np.array(list("abcde")))
    assert found.label.tolist() == [1, 0, 1, NO_LABEL, NO_LABEL]
    assert (found.counts()["unit_mismatch"], found.counts()["impossible"]) == (1, 1)


REGURGITATION = {
    "name": "MR", "measurement": "mitral_regurg", "positive_words": ("Moderate (2+)", "severe (3+)"),
    "negative_words": ("none", "Mild (1+)"), "positive_prompts": ("MR.",), "negative_prompts": ("NO MR.",),
}  # fmt: skip


def test_findings_in_words() -> None:
    endpoint = Endpoint.model_validate(REGURGITATION)
    stated = {"a": "moderate  (2+)", "b": "Severe (3+)", "c": "MILD (1+)", "d": "not seen"}
    table = labels_of(*[(name, "mitral_regurg", words, "") for name, words in stated.items()])
    found = label_ecgs(endpoint, table, np.array(list("abcde")))
    assert found.label.tolist() == [1, 1, 0, NO_LABEL, NO_LABEL]
    assert (found.counts()["other_words"], found.counts()["absent"]) == (1, 1)
    assert question(endpoint) == "mitral_regurg: Moderate (2+) or severe (3+)"
    with pytest.raises(RecipeError, match="both hold 'none'"):
        Recipe.parse({"evaluation": {"endpoints": [REGURGITATION | {"positive_words": ["NONE"]}]}}, "recipe")


@pytest.mark.parametrize(
    ("measurement", "words", "label"),
    [
        ("lv_wall_thickness", "Mod symmetric LVH (1.5-1.7cm)", 1),
        ("lv_wall_thickness", "Mild symmetric LVH", NO_LABEL),
        ("mitral_regurg", "Mild (1+)", 0),
        ("tricuspid_regurg", "Trivial", 0),
        ("aortic_regurg", "Trace", 0),
        ("rv_function", "Nl RV function", 0),
        ("pericardial_effusion", "Trivial", 0),
    ],
)
def test_words_that_users_of_the_release_report_are_known_to_the_shipped_findings(
    measurement: str, words: str, label: int
) -> None:
    (endpoint,) = [one for one in find_recipe("findings", []).evaluation.endpoints if measurement in one.measurements]
    rows = pa.table(
        {"value": [None], "upper": [None], "words": [words], "unit": [""]},
        schema=pa.schema([LABELS.schema.field(name) for name in ("value", "upper", "words", "unit")]),
    )
    assert label_rows(endpoint, rows).label.tolist() == [label]


def test_a_flag_needs_its_name_alone() -> None:
    flag = Endpoint.model_validate(
        {"name": "f", "measurement": "flag", "positive_prompts": ("YES.",), "negative_prompts": ("NO.",)}
    )
    table = labels_of(("a", "flag", 1, ""), ("b", "flag", 0, ""), ("c", "flag", 2, ""))
    assert label_ecgs(flag, table, np.array(list("abc"))).label.tolist() == [1, 0, NO_LABEL]


def test_of_several_measurements_the_first_or_any() -> None:
    table = labels_of(
        ("a", "ivs", 16, "mm"), ("a", "lvpw", 10, "mm"), ("b", "ivs", 10, "mm"), ("b", "lvpw", 16, "mm"),
        ("c", "lvpw", 16, "mm"), ("d", "ivs", 900, "mm"), ("d", "lvpw", 10, "mm"), ("e", "ivs", 900, "mm"),
    )  # fmt: skip
    names = np.array(list("abcdef"))
    first, either = (
        label_ecgs(Endpoint.model_validate(WALL | {"combine": how}), table, names) for how in ("first", "any")
    )
    assert first.label.tolist() == [1, 0, 1, 0, NO_LABEL, NO_LABEL]
    assert either.label.tolist() == [1, 1, 1, 0, NO_LABEL, NO_LABEL]
    assert first.counts() == either.counts()
    assert (first.counts()["impossible"], first.counts()["absent"]) == (1, 1)


def test_what_a_later_measurement_may_replace() -> None:
    """A measurement without a label replaces none, and of two without one that which came nearer to a label counts."""
    rows = {
        "a": ((10, "mm"), (900, "mm")), "b": ((16, "mm"), (17, "mm")), "c": ((900, "mm"), (1, "%")),
        "d": ((1, "%"), (900, "mm")), "e": ((14, "mm", 17), (10, "mm", 18)), "f": ((10, "mm"), (11, "mm")),
        "g": ((900, "mm"), (14, "mm", 16)),
    }  # fmt: skip
    names = np.array(list(rows))
    table = labels_of(
        *[(name, "ivs", *first) for name, (first, _) in rows.items()],
        *[(name, "lvpw", *second) for name, (_, second) in rows.items()],
    )
    wall = Endpoint.model_validate(WALL)
    for endpoint in (wall, wall.model_copy(update={"combine": "any"})):
        found = label_ecgs(endpoint, table, names)
        assert found.label.tolist() == [0, 1, NO_LABEL, NO_LABEL, NO_LABEL, 0, NO_LABEL]
        assert [OUTCOMES[outcome] for outcome in found.outcome.tolist()] == [
            "labelled", "labelled", "impossible", "impossible", "between", "labelled", "between",
        ]  # fmt: skip
        assert found.value[[0, 1, 4, 5, 6]].tolist() == [10, 16, 15.5, 10, 15]
        assert np.isnan(found.value[2:4]).all()
    values = ecg_values(wall, table, names)
    np.testing.assert_array_equal(values.value, [10, 16, np.nan, np.nan, 15.5, 10, 15])
    assert [OUTCOMES[outcome] for outcome in values.outcome[2:4].tolist()] == ["impossible", "impossible"]


def test_the_gap_is_that_of_the_measurement_that_gave_the_label() -> None:
    rows = [
        ("a", "ivs", 16, "mm"), ("a", "lvpw", 16, "mm"), ("b", "ivs", 10, "mm"), ("b", "lvpw", 16, "mm"),
        ("c", "ivs", 900, "mm"), ("c", "lvpw", 10, "mm"), ("d", "ivs", 900, "mm"),
    ]  # fmt: skip
    table = labels_of(*rows)
    hours = pa.array([float(at) for at in range(len(rows))])
    table = table.set_column(table.column_names.index("gap_hours"), table.schema.field("gap_hours"), hours)
    for how, expected in (("first", [0, 2, 5, np.nan]), ("any", [0, 3, 5, np.nan])):
        found = label_ecgs(Endpoint.model_validate(WALL | {"combine": how}), table, np.array(list("abcd")))
        np.testing.assert_array_equal(found.gap_hours, expected)


DILATED = {
    "name": "DVH", "measurement": "lvidd", "unit": "mm", "comparison": ">", "threshold": {"F": 52, "M": 58},
    "valid_range": (20, 110), "positive_prompts": ("DILATED.",), "negative_prompts": ("NORMAL.",),
}  # fmt: skip


def test_a_threshold_for_each_sex_and_no_label_without_one() -> None:
    rows = [(record, "lvidd", value, "mm") for record, value in zip("abcdef", (52, 53, 58, 59, 80, 80), strict=True)]
    table = labels_of(*rows, ("g", "lvidd", 8, "%"))
    sex = np.array([*"FFMM", "", "X", "F", "M"])
    found = label_ecgs(Endpoint(**DILATED), table, np.array(list("abcdefgh")), sex)
    assert found.label.tolist() == [0, 1, 0, 1] + 4 * [NO_LABEL]
    counts = found.counts()
    assert (counts["sex_unknown"], counts["unit_mismatch"], counts["absent"], counts["labelled"]) == (2, 1, 1, 4)
    assert label_ecgs(Endpoint(**DILATED), table, np.array(["a"])).counts()["sex_unknown"] == 1
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
    assert (len(result.label), result.measured.counts()["sex_unknown"]) == (2 * (60 - 2), 0)  # two have an LVEF of 100
    lvef = dict(zip(inputs.labels["record_id"].to_pylist(), inputs.labels["value"].to_pylist(), strict=True))
    for name, patient, label in zip(result.record_id, result.patient_id, result.label, strict=True):
        number = int(patient.removeprefix("patient-"))
        assert label == (lvef[str(name)] < (30 if "FM"[number % 2] == "F" else 50))
    nothing = replace(inputs, subgroups=inputs.subgroups.slice(0, 0))
    unknown = scored(nothing)
    assert (len(unknown.label), unknown.measured.counts()["sex_unknown"]) == (0, len(result.label))


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
