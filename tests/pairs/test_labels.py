"""Labels of ECGs: which exam a measured value belongs to, and which ECG the exam labels."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echoingecg.recipe.stages import LabelSettings, PairsSettings
from helpers.cases.tables_for_pairs import Clip, Ecg, Measurement, pairs_of

CLIPS: list[Clip] = [("s1", "a", 0.0), ("s2", "a", 30.0), ("s3", "b", 0.0)]
ECGS: list[Ecg] = [("r1", "a", 0.0), ("r2", "a", 30.0), ("r3", "b", 0.0)]
BASE = {"unit": "%", "measurement": "lvef"}


def labels_of(
    measurements: list[Any], ecgs: list[Ecg] = ECGS, clips: list[Clip] = CLIPS, without_target: set[str] | None = None,
    **rule: Any,
) -> list[tuple[Any, ...]]:  # fmt: skip
    chosen = PairsSettings(labels=LabelSettings(**rule))
    tables = pairs_of(ecgs, clips, measurements=measurements, without_target=without_target, settings=chosen)
    names = ("record_id", "study_id", "measurement", "value", "words", "upper", "gap_hours")
    return [tuple(row[name] for name in names) for row in tables["labels"].to_pylist()]


@pytest.mark.parametrize(
    ("measurements", "expected"),
    [
        ([("a", 29.0, "s1", "lvef", 40.0, "%")], [("r1", "s1", 40.0)]),  # the name counts, not the time
        ([("a", 29.0, None, "lvef", 40.0, "%")], [("r2", "s2", 40.0)]),  # the nearest
        ([("a", 15.0, None, "lvef", 40.0, "%")], [("r1", "s1", 40.0)]),  # of equals the earlier
        ([("a", 54.0, None, "lvef", 40.0, "%")], [("r2", "s2", 40.0)]),  # the window is closed
        ([("a", 54.1, None, "lvef", 40.0, "%")], [("r2", None, 40.0)]),  # an exam without clips
        ([("a", 0.0, "s9", "lvef", 40.0, "%")], []),  # names a study that is not there: goes to no other
        ([("b", 0.0, "s1", "lvef", 40.0, "%")], []),  # names another patient's study
        ([("a", 0.0, "s1", "lvef", float("inf"), "%")], []),
        (  # the one that names the study, however near the other
            [("a", 0.0, None, "lvef", 41.0, "%"), ("a", 9.0, "s1", "lvef", 40.0, "%")],
            [("r1", "s1", 40.0)],
        ),
        (  # then the nearest in time
            [("a", 5.0, "s1", "lvef", 41.0, "%"), ("a", 2.0, "s1", "lvef", 60.0, "%")],
            [("r1", "s1", 60.0)],
        ),
        (  # nearest to the study, and not to the first hour
            [("a", 25.0, "s2", "lvef", 41.0, "%"), ("a", 32.0, "s2", "lvef", 60.0, "%")],
            [("r2", "s2", 60.0)],
        ),
        (  # then the smallest value
            [("a", 2.0, "s1", "lvef", 41.0, "%"), ("a", 2.0, "s1", "lvef", 40.0, "%")],
            [("r1", "s1", 40.0)],
        ),
    ],
)
def test_which_exam_a_value_belongs_to(measurements: list[Measurement], expected: list[tuple[Any, ...]]) -> None:
    assert [(row[0], row[1], row[3]) for row in labels_of(measurements)] == expected


def test_words_and_ranges_are_values() -> None:
    measured = [
        {
            "patient_id": "a",
            "hours": 0.0,
            "study_id": "s1",
            "measurement": "lvef",
            "value": 35.0,
            "upper": 40.0,
            "unit": "%",
        },
        {
            "patient_id": "a",
            "hours": 0.0,
            "study_id": "s1",
            "measurement": "mitral_regurg",
            "words": "Mild (1+)",
            "unit": "",
        },
    ]
    assert labels_of(measured) == [
        ("r1", "s1", "lvef", 35.0, None, 40.0, 0.0),
        ("r1", "s1", "mitral_regurg", None, "Mild (1+)", None, 0.0),
    ]


def test_a_refused_study_still_labels_its_ecg() -> None:
    near_refused: list[Measurement] = [("a", 29.0, None, "lvef", 40.0, "%")]
    assert [row[:2] for row in labels_of(near_refused, without_target={"s2"})] == [("r2", "s2")]


def exam(hours: float, value: float, **more: Any) -> dict[str, Any]:
    return BASE | {"patient_id": "a", "hours": hours, "value": value} | more


def test_a_linked_exam_counts_at_any_distance_and_against_a_nearer_stress_exam() -> None:
    linked = exam(30.0, 35.0, study_id="s1", exam_id="m1", exam_type="tte")
    stress = exam(1.0, 60.0, exam_id="m2", exam_type="stress")
    one_ecg = ECGS[:1]
    assert [row[3] for row in labels_of([linked, stress], one_ecg, CLIPS[:1])] == [35.0]
    assert [row[3] for row in labels_of([linked, stress], one_ecg, CLIPS[:1], exam_types=())] == [35.0]
    assert [row[3] for row in labels_of([stress], one_ecg, [])] == []
    assert [row[3] for row in labels_of([stress], one_ecg, [], exam_types=("stress",))] == [60.0]
    assert [row[3] for row in labels_of([exam(1.0, 50.0)], one_ecg, [])] == [50.0], "without a type it counts"


def test_a_study_whose_exam_is_named_takes_no_value_by_its_date() -> None:
    linked = exam(30.0, 35.0, study_id="s1", exam_id="m1", exam_type="tte", measurement="ivs")
    other = exam(1.0, 60.0, exam_id="m2", exam_type="tte")
    rows = labels_of([linked, other], ECGS[:1], CLIPS[:1])
    assert [(row[1], row[2], row[3]) for row in rows] == [("s1", "ivs", 35.0), (None, "lvef", 60.0)]


def test_a_value_stated_for_an_ecg_belongs_to_it_alone() -> None:
    stated = exam(700.0, 30.0, record_id="r1")
    near = exam(0.0, 60.0)
    assert [(row[0], row[3], row[6]) for row in labels_of([stated, near], rule="every")] == [
        ("r1", 30.0, None), ("r2", 60.0, 30.0),
    ]  # fmt: skip
    assert labels_of([exam(0.0, 30.0, record_id="r9")]) == []
    assert labels_of([exam(0.0, 30.0, record_id="r3")]) == [], "another patient's ECG"


hours = st.integers(0, 40).map(lambda half: half / 2)
ecg_lists = st.lists(st.tuples(st.sampled_from("ab"), hours), max_size=8).map(
    lambda rows: [(f"r{at}", patient, when) for at, (patient, when) in enumerate(rows)]
)
exam_lists = st.lists(st.tuples(st.sampled_from("ab"), hours, st.sampled_from(["x", "y"])), max_size=8)


@settings(deadline=None, max_examples=60)
@given(ecg_lists, exam_lists, st.sampled_from(["nearest", "every", "before", "first"]))
def test_rules_against_a_loop(ecgs: list[Ecg], exams: list[tuple[str, float, str]], rule: str) -> None:
    measured = [
        {
            "patient_id": patient,
            "hours": when,
            "measurement": name,
            "value": float(at),
            "unit": "",
            "exam_id": f"e{at:02d}",
        }
        for at, (patient, when, name) in enumerate(exams)
    ]
    expected: dict[tuple[str, str], tuple[float, float, str, float]] = {}

    def offer(record: str, ecg_hours: float, at: int) -> None:
        _, when, name = exams[at]
        offered = (abs(ecg_hours - when), when if rule != "nearest" else 0.0, f"e{at:02d}", ecg_hours - when)
        key = (record, name)
        expected[key] = min(expected.get(key, offered), offered)

    if rule == "nearest":
        for at, (patient, when, _) in enumerate(exams):
            near = [(abs(own - when), own, record) for record, owner, own in ecgs if owner == patient]
            if near and min(near)[0] <= 5:
                offer(min(near)[2], min(near)[1], at)
    else:
        chosen = ecgs
        if rule == "first":
            first = {owner: min((own, record) for record, of, own in ecgs if of == owner)[1] for _, owner, _ in ecgs}
            chosen = [row for row in ecgs if row[0] == first[row[1]]]
        for record, owner, own in chosen:
            for at, (patient, when, _) in enumerate(exams):
                if patient == owner and abs(own - when) <= 5 and (rule != "before" or when >= own):
                    offer(record, own, at)
    rows = labels_of(measured, ecgs, [], rule=rule, window_hours=5)
    assert {(row[0], row[2]): row[6] for row in rows} == {key: value[3] for key, value in expected.items()}
    values = {(row[0], row[2]): row[3] for row in rows}
    for key, (_, _, name, _) in expected.items():
        assert values[key] == float(name[1:]), "of equally near exams the earlier, then the first by name"
