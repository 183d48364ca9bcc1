"""Drift: sizes, shares and labels by hand, the verdict by the recipe's rule."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.catalog import MEASUREMENTS
from data_contracts.ecg import QUALITY_FLAGS, RECORDS
from data_contracts.monitoring import DRIFT
from echoingecg.evaluation.compare import DriftSide, drift_verdict, measure_drift
from echoingecg.evaluation.metrics.shift import MAX_ECGS_PER_SIDE
from echoingecg.recipe import DriftSettings, EvaluationSettings
from echoingecg.recipe.evaluation import ThresholdBySex
from helpers.cases.evaluation_case import lvef_below, make_records, make_subgroups

PATIENTS = 120
RULE = DriftSettings(draws=200)
ASKED = EvaluationSettings(endpoints=(lvef_below(40),))


def side(name: str, patients: int = PATIENTS, low_lvef: float = 0.2, mains: float = 0.1, unit: str = "%") -> DriftSide:
    """Two ECGs and one LVEF a patient; shares exactly as asked."""
    records = make_records([f"{name}-{at:04d}" for at in range(2 * patients)]).to_pylist()
    for at, row in enumerate(records):
        row |= {"patient_id": f"{name}-{at // 2:03d}", "recording_id": row["record_id"]}
        row["lead_findings"] = QUALITY_FLAGS["mains"] * (at < mains * 2 * patients)
    lvef = [
        {"patient_id": f"{name}-{at:03d}", "hours": 0.0, "study_id": None, "measurement": "lvef"}
        for at in range(patients)
    ]
    for at, row in enumerate(lvef):
        row |= {"value": 30.0 if at < low_lvef * patients else 60.0, "unit": unit}
    names = [row["record_id"] for row in records]
    return DriftSide(RECORDS.build(records), make_subgroups(names), MEASUREMENTS.build(lvef))


def measured(
    trained: DriftSide, new: DriftSide, far: float = 0.0, asked: EvaluationSettings = ASKED
) -> dict[tuple[str, str], dict]:
    generator = np.random.default_rng(2)
    means = [generator.normal(size=(len(one.embedded_rows(RULE.seed)), 8)) for one in (trained, new)]
    table = DRIFT.check(measure_drift(trained, new, (means[0], means[1] + far), asked, RULE))
    return {(row["measure"], row["name"]): row for row in table.to_pylist()}


def test_like_is_no_drift_and_everything_has_its_size() -> None:
    found = measured(side("old"), side("new"))
    assert not any(row["drifted"] for row in found.values())
    lvef, mains = found["prevalence", "LVEF below 40 %"], found["share", "finding: mains"]
    assert (lvef["reference_value"], lvef["compared_value"], lvef["reference_records"]) == (0.2, 0.2, PATIENTS)
    assert (mains["compared_value"], mains["compared_records"], mains["compared_patients"]) == (0.1, 240, PATIENTS)
    assert found["embedding", "mmd2"]["compared_records"] == PATIENTS  # one ECG a patient
    assert {("share", "sex: F"), ("share", "age: 40 to 64")} <= found.keys()
    assert ("share", "finding: flat") not in found  # nobody has it


@pytest.mark.parametrize(
    ("change", "far", "what"),
    [
        ({"low_lvef": 0.6}, 0.0, ("prevalence", "LVEF below 40 %")),
        ({"mains": 0.9}, 0.0, ("share", "finding: mains")),
        ({}, 1.0, ("embedding", "mmd2")),
    ],
)
def test_one_thing_that_drifts_is_found_and_nothing_else(change: dict, far: float, what: tuple[str, str]) -> None:
    trained, new = side("old"), side("new", **change)
    found = measured(trained, new, far)
    assert [name for name, row in found.items() if row["drifted"]] == [what]
    table = DRIFT.build(list(found.values()))
    verdict, says = drift_verdict(table, PATIENTS, RULE)
    assert (verdict, says.startswith(f"1 of {len(found)} measures")) == ("drift", True)
    assert what[1] in says


@pytest.mark.parametrize(
    ("before", "change", "what", "fall"),
    [
        ({"low_lvef": 0.6}, {"low_lvef": 0.2}, ("prevalence", "LVEF below 40 %"), -0.4),
        ({"mains": 0.9}, {"mains": 0.1}, ("share", "finding: mains"), -0.8),
    ],
)
def test_a_fall_is_drift_as_a_rise_is(before: dict, change: dict, what: tuple[str, str], fall: float) -> None:
    found = measured(side("old", **before), side("new", **change))
    assert [name for name, row in found.items() if row["drifted"]] == [what]
    assert found[what]["value"] == pytest.approx(fall)
    assert found[what]["high"] < 0


def test_a_change_within_the_limit_or_within_chance_is_none() -> None:
    assert not measured(side("old"), side("new", low_lvef=0.29))["prevalence", "LVEF below 40 %"]["drifted"]
    few = measured(side("old"), side("new", patients=4, low_lvef=0.5))["prevalence", "LVEF below 40 %"]
    assert few["value"] == pytest.approx(0.3)
    assert not few["drifted"]


def test_few_patients_give_no_verdict() -> None:
    table = DRIFT.build(list(measured(side("old"), side("new", mains=0.9)).values()))
    assert drift_verdict(table, RULE.least_patients, RULE)[0] == "drift"
    assert drift_verdict(table, RULE.least_patients - 1, RULE)[0] == "too few"
    like = DRIFT.build(list(measured(side("old"), side("new")).values()))
    assert drift_verdict(like, PATIENTS, RULE) == ("no drift", f"0 of {like.num_rows} measures are beyond their limits")


def test_nothing_new_and_values_of_another_unit_end_well() -> None:
    nothing = side("new")
    empty = DriftSide(nothing.records.slice(0, 0), nothing.subgroups.slice(0, 0), nothing.measurements.slice(0, 0))
    assert measured(side("old"), empty) == {}
    assert ("prevalence", "LVEF below 40 %") not in measured(side("old"), side("new", unit="1"))


def test_a_threshold_by_sex_counts_patients_of_known_sex() -> None:
    asked = ASKED.model_copy(
        update={"endpoints": (lvef_below(40).model_copy(update={"threshold": ThresholdBySex(F=20, M=70)}),)}
    )
    row = measured(side("old"), side("new"), asked=asked)["prevalence", "LVEF below 40 %"]
    assert row["reference_records"] == PATIENTS
    assert row["reference_value"] == 0.5  # every man, no woman
    blind = replace(side("new"), subgroups=make_subgroups([]))
    assert ("prevalence", "LVEF below 40 %") not in measured(side("old"), blind, asked=asked)


def test_the_ecgs_drawn_are_one_a_patient_and_not_too_many() -> None:
    many = side("old", patients=MAX_ECGS_PER_SIDE + 50)
    rows = many.embedded_rows(1)
    assert len(rows) == MAX_ECGS_PER_SIDE == len(np.unique(many.patient[rows]))
    assert not np.array_equal(rows, many.embedded_rows(2))
    assert {row % 2 for row in rows.tolist()} == {0, 1}
    assert isinstance(many.records, pa.Table)
