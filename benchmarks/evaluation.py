"""Measures of the test split: every metric with its interval against scikit-learn a resample; retrieval at size."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    recall_score,
    roc_auc_score,
)

from benchmarks.measure import Row, below, in_fresh_process, once, peak_mb
from echoingecg.evaluation.data.embed import GaussianTable, find_nearest, split_into_chunks
from echoingecg.evaluation.decision.calibration import CalibrationEcgs
from echoingecg.evaluation.decision.predictive import ExpectedEcho
from echoingecg.evaluation.decision.reading_card import choose_on_validation
from echoingecg.evaluation.metrics.bootstrap import Patients, resample_metrics
from echoingecg.evaluation.metrics.classification import binary_metrics, log_odds
from echoingecg.evaluation.protocols.retrieval import retrieve
from echoingecg.evaluation.tables.rows import ProtocolScores, metric_rows, strata_rows
from echoingecg.recipe import EvaluationSettings

PREDICTIONS, PATIENTS, DRAWS = 50_000, 30_000, 1000
FEW = 5  # resamples of the plain route: one takes as long as the other
GALLERIES, MOST, DIM, MATCHES = (5_000, 20_000), 100_000, 512, 3  # MOST by MOST takes a quarter of an hour: not here


def answers(records: int) -> ProtocolScores:
    """A student of middling skill, asked one question, with five strata."""
    generator = np.random.default_rng(1)
    label = (generator.random(records) < 0.15).astype(np.int8)
    score = 1 / (1 + np.exp(-generator.normal(1.5 * label - 1, 1)))
    names = np.array([f"p-{one}" for one in generator.integers(0, PATIENTS, records)])
    names_of_doubts = ("mean_log_var", "total_variance", "max_log_var", "far", "predictive_distance", "deviation")
    doubts = {name: generator.normal(size=records) for name in names_of_doubts}
    levels = {name: generator.choice(["a", "b", "c"], records) for name in ("age", "device", "rhythm", "sex", "site")}
    decision = (score >= 0.5).astype(np.int8)
    is_answered = np.abs(score - 0.5) > 0.1
    echo = ExpectedEcho(log_odds(score), np.exp(generator.normal(0, 0.3, records)), np.zeros(records))
    distance, few = echo.distance(0.5), np.arange(5000)
    validation = CalibrationEcgs(label, names, score, distance)[few]
    rules = choose_on_validation(validation, distance[few], np.ones(len(few), bool), 0.5, EvaluationSettings())
    return ProtocolScores(
        "question", "expected_echo", label, score, decision, distance, echo, is_answered, names, doubts, levels, rules
    )


def whole() -> tuple[float, float]:
    """(seconds, peak MB) of all rows of both tables."""
    of, settings = answers(PREDICTIONS), EvaluationSettings(bootstrap_draws=DRAWS)
    taken = once(lambda: [*metric_rows(of, settings), *strata_rows(of, settings)])
    return taken, peak_mb()


def by_scikit_learn(of: ProtocolScores) -> None:
    """Six of the same eight metrics, each resample's rows copied out and handed to scikit-learn."""
    names, owner = np.unique(of.patient, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    begins = np.searchsorted(owner[order], np.arange(len(names) + 1))
    generator = np.random.default_rng(1)
    for _ in range(FEW):
        picks = generator.integers(0, len(names), len(names))
        at = np.concatenate([order[begins[one] : begins[one + 1]] for one in picks])
        label, score, decision = of.label[at], of.score[at], of.decision[at]
        roc_auc_score(label, score)
        average_precision_score(label, score)
        balanced_accuracy_score(label, decision)
        recall_score(label, decision)
        recall_score(label, decision, pos_label=0)
        brier_score_loss(label, score)


def in_one_pass(of: ProtocolScores, draws: int) -> None:
    """Ours, as the tables use it."""
    patients = Patients.from_names(of.patient)
    resample_metrics(binary_metrics(of.label, of.score, of.decision, patients), patients, draws, 1)


def found(size: int) -> tuple[float, float]:
    """(seconds, extra MB at the peak) of ranking `size` studies for `size` ECGs, each with three true matches."""
    generator = np.random.default_rng(1)
    ecgs = GaussianTable.from_points(generator.normal(size=(size, DIM)).astype(np.float32))
    studies = GaussianTable.from_points((ecgs.mean + generator.normal(size=(size, DIM))).astype(np.float32))
    query = np.repeat(np.arange(size), MATCHES)
    match = (query + np.tile(np.arange(MATCHES), size)) % size
    before = peak_mb()
    taken = once(lambda: retrieve(ecgs, studies, query, match))
    return taken, peak_mb() - before


def searched(size: int) -> tuple[float, float]:
    """(seconds, extra MB at the peak) of the ten nearest among `size` studies for one ECG, read in chunks from disk."""
    generator = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mean.npy"
        np.save(path, generator.normal(size=(size, DIM)).astype(np.float32))
        none = np.zeros(size)
        gallery = GaussianTable(np.load(path, mmap_mode="r"), none, none, none)
        query, before = GaussianTable.from_points(np.ones((1, DIM), np.float32)), peak_mb()
        find_nearest(query, split_into_chunks(gallery), 10)
        return once(lambda: find_nearest(query, split_into_chunks(gallery), 10)), peak_mb() - before


def rows() -> Iterator[Row]:
    """Each in a process of its own."""
    of = answers(PREDICTIONS)
    plain = once(lambda: by_scikit_learn(of)) / FEW
    ours = once(lambda: in_one_pass(of, 20 * FEW)) / (20 * FEW)
    yield Row("eight metrics of 50,000 predictions, a resample", "scikit-learn on the rows drawn", plain, ours)
    spent, megabytes = in_fresh_process("evaluation", "whole")
    work = "50,000 predictions, all groups and strata, 1,000 resamples"
    yield Row(work, "", None, spent, below(120))
    yield Row("its peak memory", "", None, megabytes, below(2000), "MB")
    for size in GALLERIES:
        spent, megabytes = in_fresh_process("evaluation", "found", size)
        yield Row(f"retrieval, {size:,} ECGs among {size:,} studies, D {DIM}", "", None, spent)
        yield Row("its extra memory", "all distances at once", size**2 * 8 / 1e6, megabytes, below(500), "MB")
    spent, megabytes = in_fresh_process("evaluation", "searched", MOST)
    yield Row(f"search, one ECG among {MOST:,} studies, D {DIM}", "", None, spent, below(1))
    yield Row("its extra memory, the studies' mapped file included", "", None, megabytes, below(500), "MB")
