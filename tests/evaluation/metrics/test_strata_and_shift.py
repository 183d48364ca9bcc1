"""Strata and shift: parts by what the export states, and whether two groups differ."""

from itertools import combinations

import numpy as np
import pytest

from data_contracts.catalog import SUBGROUPS
from echoingecg.evaluation.metrics.bootstrap import Patients
from echoingecg.evaluation.metrics.selective import SMALL, gap_levels, subgroup_levels, subgroup_masks
from echoingecg.evaluation.metrics.shift import _mmd2, embedding_shift, share_shift
from helpers.cases.evaluation_case import make_records, make_subgroups


def test_levels_are_those_stated_and_empty_elsewhere() -> None:
    names = [f"ecg-{at:05d}" for at in range(90)]
    wanted = np.array([*names[:20], "ecg-00001-2", "ecg-unknown"])
    found = subgroup_levels(wanted, make_subgroups(names), make_records([*names, "ecg-00001-2"]), (40, 65, 80))
    assert sorted(found) == ["age", "quality", "rhythm", "sex", "site"]
    assert found["sex"].tolist()[:6] == ["", "F", "M", "M", "F", "F"]
    assert found["age"].tolist()[1] == "under 40"
    assert found["quality"].tolist()[:5] == ["finding", "no finding", "no finding", "no finding", "finding"]
    assert (found["sex"][-2], found["age"][-2]) == ("F", "under 40"), "a window is of its recording's group"
    assert {levels[-1] for levels in found.values()} == {""}


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (0.0, "under 40"),
        (39.9, "under 40"),
        (40.0, "40 to 64"),
        (64.9, "40 to 64"),
        (65.0, "65 to 79"),
        (79.9, "65 to 79"),
        (80.0, "80 and over"),
        (90.0, "80 and over"),
    ],
)
def test_age_bands(age: float, band: str) -> None:
    row = {"record_id": "a", "sex": None, "age": age, "site": None, "device": None, "rhythm": None}
    found = subgroup_levels(np.array(["a"]), SUBGROUPS.build([row]), make_records(["a"]), (40, 80, 65))
    assert found["age"].tolist() == [band]


def test_levels_of_few_patients_are_gathered() -> None:
    patient = np.array([f"p{at}" for at in range(90)])
    levels = np.array(["a"] * 30 + ["b"] * 10 + ["c"] * 15 + [""] * 5 + ["d"] * 30)
    sizes = {level: int(members.sum()) for level, members in subgroup_masks(levels, patient).items()}
    assert sizes == {"a": 30, "d": 30, SMALL: 25}
    assert subgroup_masks(levels, patient)[SMALL].nonzero()[0].tolist() == list(range(30, 55))
    alone = np.where(levels == "c", "a", levels)
    assert sorted(subgroup_masks(alone, patient)) == ["a", "b", "d"], "one small part keeps its name"
    assert subgroup_masks(levels, np.repeat("one", 90)) == {}
    assert subgroup_masks(np.where(levels == "a", "a", ""), patient) == {}


@pytest.mark.parametrize(("patients", "names"), [(19, ["a", SMALL]), (20, ["a", "b", "c"])])
def test_a_group_of_twenty_patients_stands_alone_and_one_of_nineteen_does_not(patients: int, names: list[str]) -> None:
    levels = np.repeat(["a", "b", "c"], [30, patients, 19])
    patient = np.array([f"p{at}" for at in range(len(levels))])
    assert sorted(subgroup_masks(levels, patient)) == names
    twice = np.repeat(patient, 2)  # patients count, not their ECGs
    assert sorted(subgroup_masks(np.repeat(levels, 2), twice)) == names


def test_an_ecg_at_the_hour_of_the_exam_counts_as_after_it() -> None:
    before, after = "before the exam", "after the exam"
    expected = {
        -9000.0: f"over 1 d {before}", -24.1: f"over 1 d {before}", -24.0: f"up to 1 d {before}",
        -0.1: f"up to 1 d {before}", 0.0: f"up to 1 d {after}", 23.9: f"up to 1 d {after}",
        24.1: f"over 1 d {after}", 9000.0: f"over 1 d {after}", np.nan: "",
    }  # fmt: skip
    assert gap_levels(np.array(list(expected))).tolist() == list(expected.values())


def test_mmd_against_its_definition() -> None:
    generator = np.random.default_rng(1)
    points = generator.normal(size=(9, 3))
    kernel = np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=2) / 2)
    np.fill_diagonal(kernel, 0)
    a, b = range(4), range(4, 9)
    expected = (
        np.mean([kernel[i, j] for i in a for j in a if i != j])
        + np.mean([kernel[i, j] for i in b for j in b if i != j])
        - 2 * np.mean([kernel[i, j] for i in a for j in b])
    )
    members = (np.arange(9) < 4).astype(float)[None]
    assert _mmd2(kernel, members)[0] == pytest.approx(expected)


def test_shift_of_small_groups_against_its_definition_and_every_split() -> None:
    """Groups of 3 and 6 rows: width is the median of the 36 distances, p the share of the 84 splits that reach it."""
    generator = np.random.default_rng(12)
    points = np.concatenate([generator.normal(0.9, 1, size=(3, 2)), generator.normal(size=(6, 2))])
    squared = {frozenset(pair): ((points[pair[0]] - points[pair[1]]) ** 2).sum() for pair in combinations(range(9), 2)}
    kernel = {pair: np.exp(-distance / np.median(list(squared.values()))) for pair, distance in squared.items()}

    def mmd2(first: set[int]) -> float:
        means = [
            np.mean([kernel[frozenset(pair)] for pair in combinations(group, 2)])
            for group in (first, set(range(9)) - first)
        ]
        across = [value for pair, value in kernel.items() if len(pair & first) == 1]
        return float(sum(means) - 2 * np.mean(across))

    found = embedding_shift(points[:3], points[3:], 1)
    assert found is not None
    expected = mmd2({0, 1, 2})
    assert found.mmd2 == pytest.approx(expected)
    reached = [mmd2(set(group)) >= expected - 1e-9 for group in combinations(range(9), 3)]
    assert 0.02 < np.mean(reached) < 0.9
    assert found.p == pytest.approx(np.mean(reached), abs=0.08)


def test_two_groups_of_one_distribution_look_apart_as_often_as_p_says() -> None:
    generator = np.random.default_rng(2)
    found = [embedding_shift(*generator.normal(size=(2, 40, 8)), seed) for seed in range(60)]
    p = np.array([one.p for one in found if one is not None])
    assert 0.35 < p.mean() < 0.65
    assert (p < 0.1).mean() < 0.25
    moved = embedding_shift(generator.normal(size=(40, 8)), generator.normal(0.8, 1, size=(60, 8)), 1)
    assert moved is not None
    assert moved.p == pytest.approx(1 / 501)
    assert embedding_shift(np.ones((1, 3)), np.ones((5, 3)), 1) is None
    same = embedding_shift(np.ones((4, 3)), np.ones((5, 3)), 1)
    assert same is not None
    assert (same.mmd2, same.p) == (pytest.approx(0.0), 1.0)


def test_share_shift_has_the_binomial_width() -> None:
    reference, compared = np.arange(400) % 5 == 0, np.arange(400) % 2 == 0
    patients = Patients(np.arange(400), 400)
    found = share_shift(reference, patients, compared, patients, 4000, 1)
    assert found.value == pytest.approx(0.3)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt((0.16 + 0.25) / 400), rel=0.06)
