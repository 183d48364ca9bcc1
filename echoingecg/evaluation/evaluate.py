"""The stage's one entry point: predictions, metrics, figures and the report, in one folder."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from data_contracts.evaluation import (
    FEW_SHOT,
    FIGURES,
    METRICS,
    PREDICTIONS,
    REGRESSION_METRICS,
    REGRESSIONS,
    REPORT,
)
from data_contracts.tables import TableContract
from echoingecg.evaluation.embedding import Signals, StudentModel
from echoingecg.evaluation.figure_set import draw_figures
from echoingecg.evaluation.gaussians import Gaussians
from echoingecg.evaluation.inputs import EvaluationInputs, EvaluationPairs, Provenance
from echoingecg.evaluation.models import read_models
from echoingecg.evaluation.protocols import (
    EndpointResult,
    evaluate_endpoint,
    few_shot_rows,
    metric_rows,
    prediction_columns,
)
from echoingecg.evaluation.regression_results import (
    RegressionResult,
    evaluate_regression,
    regression_columns,
    regression_metric_rows,
)
from echoingecg.evaluation.report import render_report
from echoingecg.evaluation.results import EvaluationResults
from echoingecg.evaluation.retrieval import Retrieval, retrieve
from echoingecg.progress import Progress, silent
from echoingecg.recipe import EvaluationSettings

__all__ = ["EvaluationInputs", "Provenance", "Signals", "StudentModel", "evaluate"]


def evaluate(
    inputs: EvaluationInputs, settings: EvaluationSettings, folder: Path, progress: Progress = silent
) -> dict[str, int]:
    """Evaluates a student and writes the evaluation artefact's files.

    Every split is predicted, thresholds come from validation, metrics from test alone. Same inputs, same
    bytes. Endpoints and protocols that cannot be evaluated are named in the report with the reason.

    Args:
        inputs: student, signals, pairs, targets, provenance.
        settings: endpoints and protocols.
        folder: exists; receives the tables of data_contracts.evaluation, figures/*.png and report.html.
        progress: told the ECGs embedded, then the endpoint at work.

    Returns:
        counts for the manifest: ecgs, test_ecgs, test_patients, endpoints, regressions, predictions, metrics, figures.

    Raises:
        ContractError: the inputs contradict each other, a patient stands on two sides of the split, or the
            student's output is not finite or of another width.
        UserError: an external model lacks a paired ECG.
    """
    pairs = EvaluationPairs.of(inputs)
    models = read_models(inputs, pairs, settings, progress)
    ecgs = models.ecgs
    endpoints: list[EndpointResult] = []
    metrics: list[dict[str, object]] = []
    for endpoint in settings.endpoints:
        progress(len(ecgs), len(ecgs), f"endpoint {endpoint.name}")
        endpoints.append(evaluate_endpoint(endpoint, inputs, pairs, models, settings))
        metrics += metric_rows(endpoints[-1], settings)
    regressions: list[RegressionResult] = []
    for number in settings.regressions:
        progress(len(ecgs), len(ecgs), f"number {number.name}")
        regressions.append(evaluate_regression(number, inputs, pairs, models, settings))
    results = EvaluationResults(
        endpoints=tuple(endpoints),
        regressions=tuple(regressions),
        metrics=METRICS.build(metrics),
        retrieval=_retrieval(inputs, pairs, ecgs),
        history=inputs.history,
        filters=inputs.filters,
        provenance=inputs.provenance,
        bootstrap_draws=settings.bootstrap_draws,
        few_shot_draws=settings.few_shot.draws,
        ecgs=_count(pairs.record_id, pairs.split),
        patients=_count(pairs.patient_id, pairs.split),
    )
    predictions = _written_tables(results, folder)
    progress(len(ecgs), len(ecgs), "figures and report")
    figures = draw_figures(results)
    (folder / FIGURES).mkdir(exist_ok=True)
    for figure in figures:
        (folder / FIGURES / figure.filename).write_bytes(figure.png)
    (folder / REPORT).write_text(render_report(results, figures), encoding="utf-8")
    return {
        "ecgs": len(ecgs),
        "test_ecgs": results.ecgs.get("test", 0),
        "test_patients": results.patients.get("test", 0),
        "endpoints": len(endpoints),
        "regressions": len(regressions),
        "predictions": predictions,
        "metrics": results.metrics.num_rows,
        "figures": len(figures),
    }


def _written_tables(results: EvaluationResults, folder: Path) -> int:
    """Writes every table of the artefact; returns the rows of both kinds of predictions."""
    scores = [prediction_columns(one, of) for one in results.endpoints for of in one.protocols]
    numbers = [regression_columns(one, protocol) for one in results.regressions for protocol in one.predicted]
    draws = {"draws": results.few_shot_draws}
    few = [row | draws for one in results.endpoints for row in few_shot_rows(one)]
    errors = [row for one in results.regressions for row in regression_metric_rows(one)]
    predictions = [(PREDICTIONS, _joined(PREDICTIONS, scores)), (REGRESSIONS, _joined(REGRESSIONS, numbers))]
    measures = [(METRICS, results.metrics), (FEW_SHOT, FEW_SHOT.build(few))]
    for contract, table in [*predictions, *measures, (REGRESSION_METRICS, REGRESSION_METRICS.build(errors))]:
        contract.write(table, folder)
    return sum(table.num_rows for _, table in predictions)


def _joined(contract: TableContract, columns: list[dict[str, Any]]) -> pa.Table:
    tables = [pa.table(one, schema=contract.schema) for one in columns]
    return pa.concat_tables(tables).combine_chunks() if tables else contract.schema.empty_table()


def _retrieval(inputs: EvaluationInputs, pairs: EvaluationPairs, ecgs: Gaussians) -> Retrieval | None:
    """On the test split's pairs; None when there are none."""
    tested = pairs.split[pairs.record] == "test"
    if not tested.any():
        return None
    record, query = np.unique(pairs.record[tested], return_inverse=True)
    study, match = np.unique(pairs.study[tested], return_inverse=True)
    row = pairs.target_row[study]
    studies = Gaussians.of(inputs.target_mean[row], inputs.target_log_var[row])
    return retrieve(ecgs[record], studies, query, match)


def _count(names: np.ndarray, split: np.ndarray) -> dict[str, int]:
    """Distinct names on each side."""
    return {side: len(np.unique(names[split == side])) for side in np.unique(split).tolist()}
