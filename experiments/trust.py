"""Measures trust on simulated hospitals and writes docs/trust.md: `python -m experiments.trust`.

Each hospital goes through all six stages of the demo recipe; every number comes from patients of its test split. What
is there stays: a run goes on where an earlier one stopped.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from data_contracts import evaluation, evaluation_details, pairs
from data_contracts.conventions import STAGES, UPSTREAM
from echoingecg.ecg.disturbance import DISTURBANCES, process_disturbed
from echoingecg.evaluation.data import names
from echoingecg.evaluation.decision.answers import answer_ecgs
from echoingecg.evaluation.decision.predictive import INTERVAL_REACH
from echoingecg.evaluation.metrics.selective import aurc
from echoingecg.prediction.predictor import Reader
from echoingecg.recipe import EcgSettings, with_overrides
from experiments.measures import spearman
from experiments.order import ENDPOINT, Order
from experiments.run import quiet
from flows.request import make_job
from tasks.all_stages import WORKS
from tasks.pools import PoolSignals
from tasks.store import Artefact
from tasks.teacher import read_targets

NOISES = ("muscle noise", "baseline wander")
_OVERRIDES = ("evaluation.stress_ecgs=100000", "evaluation.few_shot.cases=[]", "evaluation.bootstrap_draws=20")


def measure(order: Order, seed: int) -> str:
    """Runs all stages on one hospital, and keeps its numbers as JSON; returns a line about it."""
    path = order.workspace / "trust" / f"{seed}.json"
    if path.is_file():
        return f"seed {seed} was there"
    job = make_job(with_overrides(order.recipe(seed), list(_OVERRIDES)), "", str(order.hospital(seed)))
    if not job.export.exists():
        from echoingecg.simulator.export import simulate

        assert job.recipe.simulator is not None
        simulate(job.recipe.simulator, job.export)
    artefacts: dict[str, Artefact] = {}
    for stage in STAGES:
        artefacts[stage], _ = WORKS[stage].run(job, {above: artefacts[above] for above in UPSTREAM[stage]})
    numbers = measures(job.workspace, artefacts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(numbers | {"seed": seed}), encoding="utf-8")
    return f"seed {seed} is measured"


def measures(workspace: Any, artefacts: dict[str, Artefact]) -> dict[str, Any]:
    """Every number of one hospital, by name; levels of disturbances as lists from 0 (none) to 5."""
    folder = artefacts["evaluation"].folder
    predictions = evaluation.PREDICTIONS.read(folder).to_pandas()
    answers = evaluation.ANSWERS.read(folder).to_pandas()
    table = predictions.merge(answers, on=["endpoint", "protocol", "record_id", "split"])
    table = table[(table["endpoint"] == ENDPOINT) & (table["split"] == "test")]
    numbers: dict[str, Any] = {}
    for protocol in (names.ZERO_SHOT, names.ZERO_SHOT_TEACHER, names.EXPECTED_ECHO):
        rows = table[table["protocol"] == protocol]
        numbers[f"auroc {protocol}"] = float(roc_auc_score(rows["label"], rows["score"]))
        numbers[f"accuracy {protocol}"] = float(balanced_accuracy_score(rows["label"], rows["decision"]))
        wrong = (rows["advice"] == "predict") & (rows["decision"] != rows["label"])
        numbers[f"answered {protocol}"] = float((rows["advice"] == "predict").mean())
        numbers[f"wrong {protocol}"] = float(wrong.mean())
    expected = table[table["protocol"] == names.EXPECTED_ECHO]
    label, decision = expected["label"].to_numpy(), expected["decision"].to_numpy()
    error, distance = (label != decision).astype(float), np.abs(expected["distance"].to_numpy())
    deviation = expected["deviation"].to_numpy()
    numbers |= _ranking("clean", error, distance, deviation)
    numbers |= _halves(error, decision, distance, deviation)
    probability = np.clip(expected["probability"].to_numpy(float), 1e-3, 1 - 1e-3)
    if np.isfinite(probability).all():
        expected_error = np.where(decision == 1, 1 - probability, probability)
        numbers["halves by deviation, expected"] = _halves(expected_error, decision, distance, deviation)[
            "halves by deviation"
        ]
        numbers["spread of log deviation"] = float(np.log(deviation).std())
        numbers["spread of log distance"] = float(np.log(distance * deviation).std())
        slope = LogisticRegression(C=np.inf, max_iter=1000).fit(logit(probability)[:, None], label).coef_[0, 0]
        numbers["calibration slope"] = float(slope)
    numbers |= _against_echo(workspace, artefacts, expected["record_id"].tolist(), label) | lvef_measures(folder)
    stress = evaluation_details.STRESS.read(folder).to_pandas()
    stress = stress[stress["endpoint"] == ENDPOINT].sort_values("step")
    start = stress[stress["disturbance"] == "none"]
    for kind in DISTURBANCES:
        of_kind = stress[stress["disturbance"] == kind]
        for name in ("answered", "wrong", "refused", "typical", "auroc", "uncertainty"):
            values = [*start[name], *of_kind[name]]
            numbers[f"{name} | {kind}"] = [
                None if value is None or np.isnan(value) else float(value) for value in values
            ]
    return numbers


def _ranking(name: str, error: np.ndarray, distance: np.ndarray, deviation: np.ndarray) -> dict[str, float]:
    """Areas under the risk-coverage curve, ranked by distance in deviations, in log-odds, and by the deviation."""
    return {
        f"aurc {name}, doubt": aurc(error, -distance),
        f"aurc {name}, distance": aurc(error, -distance * deviation),
        f"aurc {name}, deviation": aurc(error, deviation),
        f"aurc {name}, random": float(error.mean()),
    }


def _halves(error: np.ndarray, decision: np.ndarray, distance: np.ndarray, deviation: np.ndarray) -> dict[str, float]:
    """Errors of the less sure half above those of the other, within each decision, mean of both, in points."""
    numbers = {}
    for name, doubt in (("deviation", deviation), ("doubt", -distance)):
        gains = []
        for value in (0, 1):
            rows = decision == value
            low = doubt[rows] <= np.median(doubt[rows])
            gains.append(100 * (error[rows][~low].mean() - error[rows][low].mean()))
        numbers[f"halves by {name}"] = float(np.mean(gains))
    return numbers


def lvef_measures(folder: Path) -> dict[str, float]:
    """What the predicted LVEF of test ECGs and its 90 % intervals hold.

    Args:
        folder: of the evaluation.
    """
    told = evaluation.REGRESSIONS.read(folder).to_pandas()
    guess = told[(told["protocol"] == names.TRAINING_MEAN) & (told["split"] == "test")]
    told = told[told["protocol"] == names.EXPECTED_NUMBER].merge(evaluation.INTERVALS.read(folder).to_pandas())
    told = told[(told["endpoint"] == "LVEF") & (told["split"] == "test")]
    error, holds = (told["predicted"] - told["measured"]).abs(), told["measured"].between(told["low"], told["high"])
    is_sure, is_answered = told["deviation"] <= told["deviation"].median(), told["advice"] == "predict"
    return {
        "LVEF error": float(error.mean()),
        "LVEF error, training mean": float((guess["predicted"] - guess["measured"]).abs().mean()),
        "LVEF error, low half": float(error[is_sure].mean()),
        "LVEF error, high half": float(error[~is_sure].mean()),
        "LVEF coverage": float(holds.mean()),
        "LVEF coverage, low half": float(holds[is_sure].mean()),
        "LVEF coverage, high half": float(holds[~is_sure].mean()),
        "LVEF answered": float(is_answered.mean()),
        "LVEF error, answered": float(error[is_answered].mean()),
    }


def _against_echo(
    workspace: Any, artefacts: dict[str, Artefact], record_ids: list[str], label: np.ndarray
) -> dict[str, float]:
    """Residuals against what the echo itself gets, where an ECG has one; rankings on a mixture of noise levels."""
    reader = Reader.load(artefacts["student"].folder, artefacts["evaluation"].folder)
    entry = next(
        entry for entry in reader.card.readings_under(names.EXPECTED_ECHO) if entry.reading.endpoint == ENDPOINT
    )
    assert entry.predictive is not None
    studies, target, _ = read_targets(artefacts["teacher"])
    study_row = {name: row for row, name in enumerate(studies["study_id"].to_pylist())}
    paired = pairs.ECG_ECHO.read(artefacts["pairs"].folder).to_pandas()
    paired = paired.iloc[paired["gap_hours"].abs().argsort(kind="stable")].drop_duplicates("record_id")
    study = paired.set_index("record_id")["study_id"]
    is_paired = np.isin(record_ids, study.index)  # a label needs no echo study
    record_ids, label = np.array(record_ids)[is_paired].tolist(), label[is_paired]
    signals = PoolSignals(workspace, artefacts["ecg"])
    row_of = {name: row for row, name in enumerate(signals.record_ids)}
    clean = signals.read(np.array([row_of[name] for name in record_ids], np.int64))
    echo = entry.score.log_odds(target[[study_row[study[name]] for name in record_ids]])

    def answered(ecgs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, _, features = reader.student.embed_ecg_with_features(ecgs)
        nothing = np.zeros(len(ecgs), bool)
        columns = answer_ecgs(reader.card, names.EXPECTED_ECHO, mean, features, nothing).questions
        own = next(answers for answers in columns if answers["endpoint"][0] == ENDPOINT)
        return logit(own["score"]), own["uncertainty"], own["decision"]

    expected, deviation, _ = answered(clean)
    residual = np.abs(echo - expected)
    inside, low = residual <= INTERVAL_REACH * deviation, deviation <= np.median(deviation)
    numbers = {
        "rank correlation of deviation and residual": spearman(deviation, residual) or 0.0,
        "coverage": float(inside.mean()),
        "coverage, low half": float(inside[low].mean()),
        "coverage, high half": float(inside[~low].mean()),
    }
    settings = EcgSettings.of_artefact(reader.card.card.ecg)
    threshold = logit(entry.reading.referral.threshold)
    parts = []
    for number, kind in enumerate(NOISES):
        for step, level in enumerate(DISTURBANCES[kind].levels):
            outcome = process_disturbed(
                clean, DISTURBANCES[kind], np.full(len(clean), level), (7, number, step), settings
            )
            if not outcome.kept.any():  # refused, one and all
                continue
            score, spread, decision = answered(outcome.signals)
            error = (decision != label[outcome.kept]).astype(float)
            parts.append((error, np.abs(score - threshold) / spread, spread))
    return numbers | _ranking("mixture", *(np.concatenate(part) for part in zip(*parts, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.trust", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="hospitals")
    parser.add_argument("--patients", type=int, default=1500, help="of each hospital")
    parser.add_argument("--out", type=Path, default=Path("docs/trust.md"))
    parser.add_argument("--workspace", type=Path, default=Path("build/science"), help="hospitals and results")
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--quick", action="store_true", help="two epochs: shows that all runs")
    given = parser.parse_args()
    folder = given.workspace / f"{given.patients}-patients{'-quick' if given.quick else ''}"
    order = Order(folder.resolve(), given.seeds, given.patients, given.quick)
    with ProcessPoolExecutor(given.workers, get_context("spawn"), quiet) as pool:
        for done in as_completed([pool.submit(measure, order, seed) for seed in order.all_seeds]):
            print(done.result(), flush=True)  # noqa: T201
    results = [
        json.loads((order.workspace / "trust" / f"{seed}.json").read_text(encoding="utf-8")) for seed in order.all_seeds
    ]
    from experiments.trust_page import write_page

    write_page(results, given.patients, given.out)
    print(given.out)  # noqa: T201


if __name__ == "__main__":
    main()
