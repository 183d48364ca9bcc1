"""ECG-echo and ECG-text pairs against the obvious search, and the rules of METHOD and of the contract."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts import catalog, ecg, pairs, teacher
from echoingecg.pairs.match import WANTED, build
from echoingecg.recipe.stages import PairsSettings
from helpers.cases.tables_for_pairs import (
    Clip,
    Ecg,
    Report,
    clip_table,
    ecg_table,
    pairs_of,
    record_table,
    study_table,
)

PATIENTS = ("a", "b", "c")
WINDOW = PairsSettings(window_hours=5)
hours = st.integers(0, 24).map(lambda half: half / 2)  # halves, so that ties are common
patients = st.sampled_from(PATIENTS)
ecg_rows = st.lists(st.tuples(patients, hours), max_size=25).map(
    lambda rows: [(f"r{at:02d}", patient, when) for at, (patient, when) in enumerate(rows)]
)
clip_rows = st.lists(st.tuples(st.integers(0, 3), patients, hours), max_size=20).map(
    lambda rows: [(f"{patient}-s{number}", patient, when) for number, patient, when in rows]
)


def slow_nearest(ecgs: list[Ecg], clips: list[Clip], window: float) -> list[tuple[str, str, float]]:
    found = []
    for study in sorted({one for one, _, _ in clips}):
        patient = next(owner for one, owner, _ in clips if one == study)
        start = min(when for one, _, when in clips if one == study)
        near = [(abs(when - start), when, record) for record, owner, when in ecgs if owner == patient]
        if near and min(near)[0] <= window:
            _, when, record = min(near)
            found.append((record, study, when - start))
    return sorted(found, key=lambda row: (row[0], abs(row[2]), row[1]))  # the nearest study of an ECG first


def rows_of(table: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in table.select(list(columns)).to_pylist()]


@settings(deadline=None)
@given(ecg_rows, clip_rows)
def test_each_study_gets_its_nearest_ecg(ecgs: list[Ecg], clips: list[Clip]) -> None:
    tables = pairs_of(ecgs, clips, settings=WINDOW)
    assert rows_of(tables["ecg_echo"], "record_id", "study_id", "gap_hours") == slow_nearest(ecgs, clips, 5)
    listed = {owner for _, owner, _ in ecgs} | {owner for _, owner, _ in clips}
    assert tables["patients"]["patient_id"].to_pylist() == sorted(listed)


@settings(deadline=None, max_examples=30)
@given(ecg_rows, clip_rows, st.randoms(use_true_random=False))
def test_the_order_of_the_inputs_does_not_matter(ecgs: list[Ecg], clips: list[Clip], draw: Any) -> None:
    reports = [(owner, "ECG", record, "sinus rhythm") for record, owner, _ in ecgs]
    plain = pairs_of(ecgs, clips, reports, settings=WINDOW)
    shuffled = pairs_of(draw.sample(ecgs, len(ecgs)), draw.sample(clips, len(clips)), reports, settings=WINDOW)
    assert plain == shuffled


def test_ties_go_to_the_earlier_ecg_then_to_the_smaller_id() -> None:
    ecgs = [("r3", "a", 12.0), ("r2", "a", 8.0), ("r1", "a", 12.0), ("r0", "a", 8.0)]
    tables = pairs_of(ecgs, [("s", "a", 10.0)])
    assert rows_of(tables["ecg_echo"], "record_id", "gap_hours") == [("r0", -2.0)]


def test_the_window_is_closed_and_its_outside_is_counted() -> None:
    clips = [("near", "a", 0.0), ("far", "b", 0.0)]
    tables = pairs_of([("r1", "a", 168.0), ("r2", "b", 168.01)], clips)
    assert rows_of(tables["ecg_echo"], "record_id", "study_id", "gap_hours") == [("r1", "near", 168.0)]
    assert rows_of(tables["filters"], "pair", "step", "kept")[:4] == [
        ("ecg_echo", "studies listed", 2),
        ("ecg_echo", "the study has a teacher target", 2),
        ("ecg_echo", "the patient has a usable ECG", 2),
        ("ecg_echo", "an ECG is within the window", 1),
    ]
    assert rows_of(tables["filters"], "pair", "step", "kept")[4] == ("ecg_echo", WANTED, 1)


def test_the_first_clip_gives_the_time_of_a_study() -> None:
    tables = pairs_of([("r1", "a", 1.0), ("r2", "a", 9.0)], [("s", "a", 9.0), ("s", "a", 2.0)])
    assert rows_of(tables["ecg_echo"], "record_id", "gap_hours") == [("r1", -1.0)]


def test_two_studies_of_a_patient_may_share_an_ecg_and_stay_on_one_side() -> None:
    tables = pairs_of([("r1", "a", 5.0), ("r2", "a", 90.0)], [("s1", "a", 4.0), ("s2", "a", 8.0), ("s3", "a", 90.0)])
    assert rows_of(tables["ecg_echo"], "record_id", "study_id") == [("r1", "s1"), ("r1", "s2"), ("r2", "s3")]
    assert len(set(tables["ecg_echo"]["split"].to_pylist())) == 1


def test_refused_ecgs_and_studies_are_not_paired() -> None:
    clips = [("s1", "a", 0.0), ("s2", "a", 50.0), ("s3", "b", 0.0)]
    ecgs = [("r1", "a", 1.0), ("r2", "a", 2.0), ("r3", "c", 2.0)]
    tables = pairs_of(ecgs, clips, unusable={"r1", "r3"}, without_target={"s2", "s3"})
    assert rows_of(tables["ecg_echo"], "record_id", "study_id") == [("r2", "s1")]
    assert tables["patients"]["patient_id"].to_pylist() == ["a"]


def test_texts_are_the_ecgs_own_and_those_of_its_echo_study() -> None:
    ecgs = [("r1", "a", 0.0), ("r2", "a", 500.0), ("r3", "b", 0.0)]
    reports: list[Report] = [
        ("a", "ECG", "r1", "sinus rhythm"),
        ("a", "ECG", "r2", "atrial fibrillation"),
        ("a", "ECG", "r2", " \n"),
        ("a", "ECHO", "s1", "normal ejection fraction"),
        ("a", "ECHO", "s1", "no effusion"),
        ("a", "ECHO", "s9", "of a study that is not listed"),
        ("a", "ECG", "r3", "of another patient's ECG"),
        ("b", "ECHO", "s1", "of another patient's study"),
    ]
    tables = pairs_of(ecgs, [("s1", "a", 1.0)], reports)
    assert rows_of(tables["ecg_text"], "record_id", "report_id", "method") == [
        ("r1", "t0", "ECG"),
        ("r1", "t3", "ECHO"),
        ("r1", "t4", "ECHO"),
        ("r2", "t1", "ECG"),
    ]
    only = {
        method: pairs_of(ecgs, [("s1", "a", 1.0)], reports, settings=PairsSettings(text_methods=(method,)))["ecg_text"]
        for method in ("ECG", "ECHO")
    }
    assert {method: table["report_id"].to_pylist() for method, table in only.items()} == {
        "ECG": ["t0", "t1"],
        "ECHO": ["t3", "t4"],
    }
    assert rows_of(tables["filters"], "pair", "kept")[5:10] == [
        ("ecg_text", 8),
        ("ecg_text", 8),
        ("ecg_text", 7),
        ("ecg_text", 4),
        ("ecg_text", 4),
    ]


@pytest.mark.parametrize("use", ["keep", "leave_out", "refer"])
def test_findings_keep_ecgs_out_of_training_but_not_out_of_the_test(use: str) -> None:
    owners = [f"p{at}" for at in range(60)]
    ecgs = [(f"r-{owner}", owner, 0.0) for owner in owners]
    reports = [(owner, "ECG", f"r-{owner}", "sinus rhythm") for owner in owners]
    reports += [(owner, "ECHO", f"s-{owner}", "no effusion") for owner in owners]
    clips = [(f"s-{owner}", owner, 1.0) for owner in owners]
    tables = pairs_of(ecgs, clips, reports, uses=dict.fromkeys([record for record, _, _ in ecgs], use))
    side = dict(rows_of(tables["patients"], "patient_id", "split"))
    assert len(side) == 60
    allowed = [owner for owner in owners if use == "keep" or side[owner] == "test"]
    assert 0 < len(allowed) < 60 or use == "keep"
    assert sorted(tables["ecg_echo"]["patient_id"].to_pylist()) == sorted(allowed)
    assert sorted(tables["ecg_text"]["patient_id"].to_pylist()) == sorted(2 * allowed)
    kept = {(pair, step): number for pair, step, number in rows_of(tables["filters"], "pair", "step", "kept")}
    assert kept["ecg_echo", "an ECG is within the window"] == 60
    assert kept["ecg_echo", WANTED] == len(allowed)
    assert kept["ecg_text", WANTED] == 2 * len(allowed)


def test_a_study_gets_the_next_ecg_where_the_nearest_is_left_out() -> None:
    """The patient is on the training side; on the test side the nearest stays."""
    owners = [f"p{at}" for at in range(40)]
    ecgs = [row for owner in owners for row in ((f"near-{owner}", owner, 1.0), (f"next-{owner}", owner, 3.0))]
    clips = [(f"s-{owner}", owner, 0.0) for owner in owners]
    uses = {f"near-{owner}": "refer" for owner in owners}
    rows = rows_of(pairs_of(ecgs, clips, uses=uses)["ecg_echo"], "record_id", "split")
    assert {(record.partition("-")[0], split) for record, split in rows} == {
        ("next", "train"), ("next", "validation"), ("near", "test"),
    }  # fmt: skip
    assert len(rows) == 40


@settings(deadline=None, max_examples=40)
@given(ecg_rows, clip_rows)
def test_filters_never_grow_and_end_at_the_tables(ecgs: list[Ecg], clips: list[Clip]) -> None:
    reports = [(owner, "ECG", record, "sinus rhythm") for record, owner, _ in ecgs]
    reports += [(owner, "ECHO", study, "normal") for study, owner, _ in clips]
    measured = [(owner, when, None, "lvef", 50.0, "%") for _, owner, when in ecgs]
    tables = pairs_of(ecgs, clips, reports, measured, settings=WINDOW)
    for pair in ("ecg_echo", "ecg_text", "labels"):
        kept = [row["kept"] for row in tables["filters"].to_pylist() if row["pair"] == pair]
        assert kept == sorted(kept, reverse=True)
        assert kept[-1] == tables[pair].num_rows
    pairs.check_no_leakage(tables["patients"], tables["ecg_echo"], tables["ecg_text"], tables["labels"])


def test_a_grown_export_moves_nobody() -> None:
    ecgs = [(f"r{i}", f"p{i}", 0.0) for i in range(200)]
    clips = [(f"s{i}", f"p{i}", 1.0) for i in range(0, 200, 2)]
    few = pairs_of(ecgs[:100], clips[:50])["patients"].to_pylist()
    many = pairs_of(ecgs, clips)["patients"].to_pylist()
    assert [row for row in few if row not in many] == []
    assert {row["split"] for row in many} == {"train", "validation", "test"}


def test_empty_tables_give_empty_tables(tmp_path: Path) -> None:
    contracts = (catalog.ECGS, catalog.ECHOES, catalog.REPORTS, catalog.MEASUREMENTS, ecg.RECORDS, teacher.STUDIES)
    for one in contracts:
        one.write(one.build([]), tmp_path)
    tables = build(*(one.read(tmp_path) for one in contracts), PairsSettings())
    assert set(tables) == {one.name for one in pairs.TABLES}
    assert all(tables[name].num_rows == 0 for name in ("patients", "ecg_echo", "ecg_text", "labels"))
    assert all(one.check(tables[one.name]) is not None for one in pairs.TABLES)


def test_200_000_ecgs_take_seconds() -> None:
    draw = np.random.default_rng(0)
    owners = [f"p{i}" for i in draw.integers(0, 40_000, 200_000)]
    when = draw.uniform(0, 1000, 200_000)
    ecgs = [(f"r{at}", owner, float(hour)) for at, (owner, hour) in enumerate(zip(owners, when, strict=True))]
    clips = [(f"s{i}", f"p{i}", 500.0) for i in range(2000)]
    measured = {
        "patient_id": owners,
        "hours": when,
        "measurement": ["lvef"] * 200_000,
        "value": draw.uniform(10, 70, 200_000),
        "unit": ["%"] * 200_000,
    }
    schema = catalog.MEASUREMENTS.schema
    nothing = {name: pa.nulls(200_000, schema.field(name).type) for name in schema.names if name not in measured}
    listed = {
        "ecgs": ecg_table(ecgs),
        "echoes": clip_table(clips),
        "reports": catalog.REPORTS.build([]),
        "measurements": pa.table(measured | nothing, schema=schema),
        "records": record_table(ecgs),
        "studies": study_table(clips),
    }
    started = time.perf_counter()
    tables = build(**listed, settings=PairsSettings())
    assert time.perf_counter() - started < 60, "matching never builds all pairs"
    assert tables["ecg_echo"].num_rows > 1000
    assert tables["labels"].num_rows > 100_000
