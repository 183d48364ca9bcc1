"""The stage's one entry point: predictions, metrics, figures and the report, in one folder."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from data_contracts.evaluation import FIGURES, METRICS, PREDICTIONS, REPORT
from echoingecg.evaluation.embedding import Signals, StudentModel, embed_ecgs
from echoingecg.evaluation.figure_set import draw_figures
from echoingecg.evaluation.gaussians import Gaussians
from echoingecg.evaluation.inputs import EvaluationInputs, EvaluationPairs, Provenance
from echoingecg.evaluation.make_card import make_card
from echoingecg.evaluation.protocols import EndpointResult, evaluate_endpoint, metric_rows, prediction_columns
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
        settings: endpoints, bootstrap, probe.
        folder: exists; receives predictions.parquet, metrics.parquet, reading_card.safetensors, figures/*.png and
            report.html.
        progress: told the ECGs embedded, then the endpoint at work.

    Returns:
        counts for the manifest: ecgs, test_ecgs, test_patients, endpoints, predictions, metrics, figures.

    Raises:
        ContractError: the inputs contradict each other, a patient stands on two sides of the split, or the
            student's output is not finite or of another width.
    """
    pairs = EvaluationPairs.of(inputs)
    ecgs = embed_ecgs(inputs.student, inputs.signals, pairs.signal_row, inputs.dim, progress)
    endpoints: list[EndpointResult] = []
    metrics: list[dict[str, object]] = []
    for endpoint in settings.endpoints:
        progress(len(ecgs), len(ecgs), f"endpoint {endpoint.name}")
        endpoints.append(evaluate_endpoint(endpoint, inputs, pairs, ecgs, settings))
        metrics += metric_rows(endpoints[-1], settings)
    results = EvaluationResults(
        endpoints=tuple(endpoints),
        metrics=METRICS.build(metrics),
        retrieval=_retrieval(inputs, pairs, ecgs),
        history=inputs.history,
        filters=inputs.filters,
        provenance=inputs.provenance,
        bootstrap_draws=settings.bootstrap_draws,
        ecgs=_count(pairs.record_id, pairs.split),
        patients=_count(pairs.patient_id, pairs.split),
    )
    predictions = _predictions(endpoints)
    PREDICTIONS.write(predictions, folder)
    METRICS.write(results.metrics, folder)
    validation = ecgs.uncertainty[pairs.split == "validation"]
    make_card(endpoints, inputs, validation, settings.refer_share).save(folder)
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
        "predictions": predictions.num_rows,
        "metrics": results.metrics.num_rows,
        "figures": len(figures),
    }


def _predictions(endpoints: list[EndpointResult]) -> pa.Table:
    tables = [
        pa.table(prediction_columns(result, protocol), schema=PREDICTIONS.schema)
        for result in endpoints
        for protocol in result.protocols
    ]
    return pa.concat_tables(tables).combine_chunks() if tables else PREDICTIONS.schema.empty_table()


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
