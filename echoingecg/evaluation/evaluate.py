"""The stage's one entry point: predictions, metrics, figures and the report, in one folder."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from data_contracts.evaluation import (
    FIGURES,
    METRICS,
    PREDICTIONS,
    RELIABILITY,
    REPORT,
    RETRIEVAL,
    RISK_COVERAGE,
    RULES,
    SHIFT,
    STRATA,
    TABLES,
    UNCERTAINTY,
)
from echoingecg.evaluation.answers import answers_of, summaries
from echoingecg.evaluation.curve_rows import reliability_rows, risk_coverage_rows
from echoingecg.evaluation.embedding import Signals, StudentModel, embed_ecgs
from echoingecg.evaluation.figure_set import draw_figures
from echoingecg.evaluation.gaussians import Gaussians
from echoingecg.evaluation.inputs import EvaluationInputs, EvaluationPairs, Provenance
from echoingecg.evaluation.metric_rows import metric_rows, strata_rows
from echoingecg.evaluation.protocols import EndpointResult, evaluate_endpoint, prediction_columns
from echoingecg.evaluation.report import render_report
from echoingecg.evaluation.results import EvaluationResults
from echoingecg.evaluation.retrieval import Retrieval, retrieve
from echoingecg.evaluation.shift_rows import embedding_rows, prevalence_rows, share_rows
from echoingecg.evaluation.strata import strata_of
from echoingecg.progress import Progress, silent
from echoingecg.recipe import EvaluationSettings

__all__ = ["EvaluationInputs", "Provenance", "Signals", "StudentModel", "evaluate"]

ECG_TO_ECHO: Final = "ecg_to_echo"
ECHO_TO_ECG: Final = "echo_to_ecg"


def evaluate(
    inputs: EvaluationInputs, settings: EvaluationSettings, folder: Path, progress: Progress = silent
) -> dict[str, int]:
    """Evaluates a student and writes the evaluation artefact's files.

    Every split is predicted; thresholds, calibrators and the rule that refers to echo come from validation,
    metrics from test alone. Same inputs, same bytes. Endpoints and protocols that cannot be evaluated are
    named in the report with the reason.

    Args:
        inputs: student, signals, pairs, targets, provenance.
        settings: endpoints, bootstrap, probe, rules.
        folder: exists; receives the tables of data_contracts.evaluation, figures/*.png and report.html.
        progress: told the ECGs embedded, then the endpoint at work.

    Returns:
        counts for the manifest: ecgs, test_ecgs, test_patients, endpoints, predictions, metrics, figures.

    Raises:
        ContractError: the inputs contradict each other, a patient stands on two sides of the split, or the
            student's output is not finite or of another width.
    """
    pairs = EvaluationPairs.of(inputs)
    ecgs = embed_ecgs(inputs.student, inputs.signals, pairs.signal_row, inputs.dim, progress)
    strata = strata_of(pairs.record_id, inputs.subgroups, inputs.records, settings.age_bands)
    rows: dict[str, list[dict[str, Any]]] = {contract.name: [] for contract in TABLES}
    endpoints: list[EndpointResult] = []
    for endpoint in settings.endpoints:
        progress(len(ecgs), len(ecgs), f"endpoint {endpoint.name}")
        result = evaluate_endpoint(endpoint, inputs, pairs, ecgs, settings)
        endpoints.append(result)
        own = np.searchsorted(pairs.record_id, result.record_id)
        for answers in answers_of(result, ecgs[own], {name: level[own] for name, level in strata.items()}, settings):
            rows[RULES.name].append(answers.name | answers.rules.row())
            rows[METRICS.name] += metric_rows(answers, settings)
            rows[STRATA.name] += strata_rows(answers, settings)
            rows[RELIABILITY.name] += reliability_rows(answers, settings.reliability_bins)
            rows[RISK_COVERAGE.name] += risk_coverage_rows(answers)
        rows[SHIFT.name] += prevalence_rows(result, settings)
    rows[SHIFT.name] += share_rows(strata, pairs.split, pairs.patient_id, settings)
    rows[SHIFT.name] += embedding_rows(ecgs.mean, pairs.split, pairs.patient_id, settings.seed)
    retrieved = _retrieval(inputs, pairs, ecgs)
    for direction, found in retrieved.items():
        rows[RETRIEVAL.name] += found.rows(direction)
    tables = {contract.name: contract.build(rows[contract.name]) for contract in TABLES}
    tables[PREDICTIONS.name] = _predictions(endpoints)
    tables[UNCERTAINTY.name] = _uncertainty(pairs, ecgs)
    for contract in TABLES:
        contract.write(tables[contract.name], folder)
    results = EvaluationResults(
        endpoints=tuple(endpoints),
        tables=tables,
        retrieval=retrieved.get(ECG_TO_ECHO),
        history=inputs.history,
        filters=inputs.filters,
        provenance=inputs.provenance,
        bootstrap_draws=settings.bootstrap_draws,
        miscoverage=settings.miscoverage,
        ecgs=_count(pairs.record_id, pairs.split),
        patients=_count(pairs.patient_id, pairs.split),
    )
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
        "predictions": tables[PREDICTIONS.name].num_rows,
        "metrics": tables[METRICS.name].num_rows,
        "figures": len(figures),
    }


def _predictions(endpoints: list[EndpointResult]) -> pa.Table:
    tables = [
        pa.table(prediction_columns(result, protocol), schema=PREDICTIONS.schema)
        for result in endpoints
        for protocol in result.protocols
    ]
    return pa.concat_tables(tables).combine_chunks() if tables else PREDICTIONS.schema.empty_table()


def _uncertainty(pairs: EvaluationPairs, ecgs: Gaussians) -> pa.Table:
    columns = {"record_id": pairs.record_id, "split": pairs.split, **summaries(ecgs)}
    return pa.table(columns, schema=UNCERTAINTY.schema)


def _retrieval(inputs: EvaluationInputs, pairs: EvaluationPairs, ecgs: Gaussians) -> dict[str, Retrieval]:
    """On the test split's pairs, in both directions; none when there are none."""
    tested = pairs.split[pairs.record] == "test"
    if not tested.any():
        return {}
    record, query = np.unique(pairs.record[tested], return_inverse=True)
    study, match = np.unique(pairs.study[tested], return_inverse=True)
    row = pairs.target_row[study]
    studies = Gaussians.of(inputs.target_mean[row], inputs.target_log_var[row])
    return {
        ECG_TO_ECHO: retrieve(ecgs[record], studies, query, match),
        ECHO_TO_ECG: retrieve(studies, ecgs[record], match, query),
    }


def _count(names: np.ndarray, split: np.ndarray) -> dict[str, int]:
    """Distinct names on each side."""
    return {side: len(np.unique(names[split == side])) for side in np.unique(split).tolist()}
