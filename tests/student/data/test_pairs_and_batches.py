"""Scaler, tables to pairs, learning rate, batch plan."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from data_contracts.pairs import ECG_ECHO, ECG_TEXT
from echoingecg.common import ContractError
from echoingecg.common.training_setup import learning_rate
from echoingecg.student.data.batches import Planner, component_labels, earlier_occurrences
from echoingecg.student.data.pairs import KINDS, EchoPairs, Pairs, TextPairs, TrainingData
from echoingecg.student.data.transforms import Scaler, fit_scaler
from helpers.cases.student_data import ArraySignals, training_data


def test_scaler_is_fitted_on_the_rows_given():
    signal = np.random.default_rng(0).normal(3, 2, size=(600, 12, 20)).astype(np.float32)
    signal[500:] = 1e6
    rows = np.arange(500)
    scaler = fit_scaler(ArraySignals(signal), rows)
    training = signal[rows].astype(np.float64)
    np.testing.assert_allclose(scaler.mean, training.mean(axis=(0, 2)), rtol=1e-10)
    np.testing.assert_allclose(scaler.scale, training.std(axis=(0, 2)), rtol=1e-10)
    standard = scaler.standardise(signal[rows])
    assert standard.dtype == np.float32
    np.testing.assert_allclose(standard.mean(axis=(0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(standard.std(axis=(0, 2)), 1, atol=1e-5)
    again = Scaler.from_json(scaler.as_json())
    assert np.array_equal(again.mean, scaler.mean)
    assert np.array_equal(again.scale, scaler.scale)


def test_scaler_of_a_flat_lead():
    assert fit_scaler(ArraySignals(np.zeros((2, 12, 5), np.float32)), np.arange(2)).scale.tolist() == [1.0] * 12


def echo_row(record: str, study: str, split: str) -> dict:
    return {"record_id": record, "study_id": study, "patient_id": "p", "split": split, "gap_hours": 0.0}


def tables() -> tuple[pa.Table, pa.Table]:
    echo = ECG_ECHO.build(
        [echo_row("r2", "s0", "train"), echo_row("r0", "s1", "validation"), echo_row("r1", "s1", "test")]
    )
    text = {"record_id": "r1", "report_id": "t", "patient_id": "p", "split": "train", "method": "ECHO", "text": "Fine."}
    return echo, ECG_TEXT.build([text])


def test_pairs_from_tables():
    signals, targets = ArraySignals(np.zeros((3, 12, 4), np.float32)), np.zeros((2, 5), np.float32)
    data = TrainingData.from_tables(signals, ["r0", "r1", "r2"], ["s0", "s1"], targets, targets, *tables())
    assert (data.train.echo.ecg.tolist(), data.train.echo.study.tolist()) == ([2], [0])
    assert (data.train.text.ecg.tolist(), data.train.text.text, data.train.text.method) == ([1], ("Fine.",), ("ECHO",))
    assert (data.validation.echo.ecg.tolist(), len(data.validation.text)) == ([0], 0)
    assert data.train.ecgs.tolist() == [1, 2]
    assert data.dim == 5
    with pytest.raises(ContractError, match="1 pairs name an ECG"):
        TrainingData.from_tables(signals, ["r0", "r1"], ["s0", "s1"], targets, targets, *tables())


def test_fingerprint_follows_pairs_and_targets():
    assert training_data().fingerprint() == training_data().fingerprint()
    assert training_data().fingerprint() != training_data(seed=1).fingerprint()
    assert training_data().fingerprint() != training_data(held_out=9).fingerprint()


def test_learning_rate_warms_up_and_falls_to_zero():
    rates = [learning_rate(step, 1000, peak=2.0, warmup_share=0.03, warmup_start=0.001) for step in range(1001)]
    assert rates[0] == pytest.approx(0.002)
    assert rates[15] == pytest.approx((0.002 + 2.0) / 2)
    assert rates[30] == 2.0
    assert rates[515] == pytest.approx(1.0)
    assert rates[1000] == pytest.approx(0.0)
    assert np.all(np.diff(rates[:31]) > 0)
    assert np.all(np.diff(rates[30:]) < 0)


def test_learning_rate_without_warm_up():
    assert learning_rate(0, 1, peak=2.0, warmup_share=0, warmup_start=0.001) == 2.0


def test_a_part_of_a_step_of_warm_up_counts_as_a_whole_one():
    """A quarter of 10 steps: 3 of warm-up, the peak at step 3, then a cosine over the other 7."""
    rates = [learning_rate(step, 10, peak=2.0, warmup_share=0.25, warmup_start=0.1) for step in range(11)]
    cosine = [1 + np.cos(np.pi * step / 7) for step in range(8)]
    assert rates == pytest.approx([0.2, 0.8, 1.4, *cosine], abs=1e-12)


def test_a_run_that_is_all_warm_up_never_reaches_the_peak():
    rates = [learning_rate(step, 4, peak=1.0, warmup_share=1.0, warmup_start=0.0) for step in range(4)]
    assert rates == [0.0, 0.25, 0.5, 0.75]


def random_pairs(random: np.random.Generator, echoes: int, texts: int, ecgs: int) -> Pairs:
    echo = EchoPairs(random.integers(0, ecgs, echoes), random.integers(0, ecgs, echoes))
    text = TextPairs(random.integers(0, ecgs, texts), ("x",) * texts, ("ECG",) * texts)
    return Pairs(echo, text)


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 70),
    st.integers(0, 70),
    st.integers(1, 60),
    st.integers(2, 9),
    st.integers(-5, 99),
    st.integers(1, 5),
)
def test_plan(echoes: int, texts: int, ecgs: int, size: int, seed: int, epoch: int):
    pairs = random_pairs(np.random.default_rng(seed % 100), echoes, texts, ecgs)
    planner = Planner(pairs, KINDS, size, seed)
    plan = planner.epoch(epoch)
    assert all(len(batch.rows) == size for batch in plan)
    for kind in KINDS:
        rows = np.concatenate([np.empty(0, int), *(batch.rows for batch in plan if batch.kind == kind)])
        assert len(rows) == len(set(rows.tolist())) == pairs.count(kind) // size * size
        assert set(rows.tolist()) <= set(range(pairs.count(kind)))
    again = Planner(pairs, KINDS, size, seed).epoch(epoch)
    assert [(one.kind, one.rows.tolist()) for one in plan] == [(one.kind, one.rows.tolist()) for one in again]
    everything = planner.all_batches()
    for kind in KINDS:
        rows = sorted(row for batch in everything if batch.kind == kind for row in batch.rows.tolist())
        assert rows == list(range(pairs.count(kind)))


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.integers(2, 80), st.integers(1, 60), st.integers(2, 9), st.integers(0, 99))
def test_a_batch_repeats_an_ecg_only_when_it_must(texts: int, ecgs: int, size: int, seed: int):
    pairs = random_pairs(np.random.default_rng(seed), 0, texts, ecgs)
    plan = Planner(pairs, ("ecg_text",), size, seed).epoch(1)
    _, count = np.unique(pairs.text.ecg, return_counts=True)
    # A batch takes each ECG once at most: more distinct pairs than this no plan can place.
    avoidable = np.minimum(count, len(plan)).sum() >= len(plan) * size
    distinct = all(len(np.unique(pairs.text.ecg[batch.rows])) == size for batch in plan)
    assert distinct or not avoidable


def test_studies_with_several_ecgs_are_spread():
    study = np.repeat(np.arange(40), 3)
    pairs = Pairs(EchoPairs(np.arange(120), study), TextPairs(np.empty(0, np.int64), (), ()))
    for epoch in (1, 2, 3):
        for batch in Planner(pairs, ("ecg_echo",), 32, 0).epoch(epoch):
            assert len(np.unique(study[batch.rows])) == 32


def test_epochs_differ_in_batches_order_and_left_out_pairs():
    pairs = random_pairs(np.random.default_rng(0), 50, 50, 1000)
    planner = Planner(pairs, KINDS, 8, 43)
    one, two = planner.epoch(1), planner.epoch(2)
    assert [batch.kind for batch in one] != [batch.kind for batch in two]
    used = [{row for batch in plan if batch.kind == "ecg_echo" for row in batch.rows.tolist()} for plan in (one, two)]
    assert used[0] != used[1]


def test_both_kinds_are_drawn_throughout_an_epoch():
    pairs = random_pairs(np.random.default_rng(0), 800, 800, 10_000)
    kinds = [batch.kind for batch in Planner(pairs, KINDS, 8, 43).epoch(1)]
    assert 30 < kinds[:100].count("ecg_echo") < 70


@given(st.lists(st.integers(-3, 3), max_size=20))
def test_occurrence(values: list[int]):
    assert earlier_occurrences(np.array(values, dtype=np.int64)).tolist() == [
        values[:at].count(one) for at, one in enumerate(values)
    ]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_linked(pairs: list[tuple[int, int]]):
    labels = list(range(len(pairs)))  # the slow way: merge until nothing changes
    for _ in pairs:
        for i, one in enumerate(pairs):
            for j, two in enumerate(pairs):
                if one[0] == two[0] or one[1] == two[1]:
                    labels[i] = labels[j] = min(labels[i], labels[j])
    array = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    found = component_labels(array[:, 0], array[:, 1])
    same = found[:, None] == found
    assert np.array_equal(same, np.array(labels)[:, None] == np.array(labels))
    assert not math.isnan(found.sum())
