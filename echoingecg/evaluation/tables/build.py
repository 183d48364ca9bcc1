"""Every table of the artefact, by its name in data_contracts.evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from data_contracts import evaluation, evaluation_details
from data_contracts.tables import TableContract
from echoingecg.evaluation.data.embed import GaussianTable
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.metrics import selective, shift
from echoingecg.evaluation.protocols import classification, retrieval
from echoingecg.evaluation.protocols.regression import RegressionResult, regression_columns, regression_metric_rows
from echoingecg.evaluation.tables.rows import (
    asked_rows,
    attempt_rows,
    cohort_rows,
    labelled_rows,
    map_rows,
    metric_rows,
    protocol_scores,
    reliability_rows,
    risk_coverage_rows,
    strata_rows,
    summaries,
)
from echoingecg.recipe import EvaluationSettings

Rows = dict[str, list[dict[str, Any]]]
_BY_COLUMN = (
    evaluation.PREDICTIONS,
    evaluation.ANSWERS,
    evaluation.REGRESSIONS,
    evaluation_details.UNCERTAINTY,
)  # a row an ECG: too many for a dict each


def build_tables(
    endpoints: Sequence[classification.EndpointResult],
    regressions: Sequence[RegressionResult],
    retrieved: Mapping[str, retrieval.Retrieval],
    inputs: EvaluationInputs,
    pairs: EvaluationPairs,
    ecgs: GaussianTable,
    settings: EvaluationSettings,
) -> dict[str, pa.Table]:
    """Strata and curves are told of the protocols that figures show, all else of every protocol.

    Args:
        endpoints, regressions: results.
        retrieved: by direction.
        inputs: of the stage.
        pairs: of the same inputs.
        ecgs: r embeddings of the paired ECGs by the student under test.
        settings: of the same results.
    """
    rows: Rows = {contract.name: [] for contract in evaluation.TABLES if contract not in _BY_COLUMN}
    strata = selective.subgroup_levels(pairs.record_id, inputs.subgroups, inputs.records, settings.age_bands)
    shifts = shift.SideComparison("train", "test", settings.bootstrap_draws, settings.seed)
    for result in endpoints:
        own = np.searchsorted(pairs.record_id, result.record_id)
        levels = {name: level[own] for name, level in strata.items()}
        _add_answers(rows, result, ecgs[own], levels, settings)
        rows[evaluation.FEW_SHOT.name] += [
            row | {"draws": settings.few_shot.draws} for row in classification.few_shot_rows(result)
        ]
        name, holds = result.endpoint.name, result.label == 1
        rows[evaluation_details.SHIFT.name] += shifts.share("prevalence", name, holds, result.split, result.patient_id)
    rows[evaluation_details.SHIFT.name] += shifts.shares(strata, pairs.split, pairs.patient_id)
    rows[evaluation_details.SHIFT.name] += shifts.embedding(ecgs.mean, pairs.split, pairs.patient_id)
    for regression in regressions:
        rows[evaluation.REGRESSION_METRICS.name] += regression_metric_rows(regression)
    for direction, retrieval_result in retrieved.items():
        rows[evaluation_details.RETRIEVAL.name] += retrieval_result.rows(direction)
    asked: list[classification.EndpointResult | RegressionResult] = [*endpoints, *regressions]
    rows[evaluation_details.COHORT.name] += cohort_rows(pairs)
    rows[evaluation_details.ASKED.name] += asked_rows(asked)
    rows[evaluation_details.LABELLED.name] += labelled_rows(asked)
    rows[evaluation_details.ATTEMPTS.name] += attempt_rows(asked)
    rows[evaluation_details.EMBEDDING_MAP.name] += map_rows(pairs, ecgs, inputs.target_mean)
    prediction_columns = [
        classification.prediction_columns(result, protocol) for result in endpoints for protocol in result.protocols
    ]
    answer_columns = [
        classification.answer_columns(result, protocol) for result in endpoints for protocol in result.protocols
    ]
    numbers = [regression_columns(result, protocol) for result in regressions for protocol in result.predicted]
    uncertainty = {"record_id": pairs.record_id, "split": pairs.split, **summaries(ecgs)}
    columns = (
        (evaluation.PREDICTIONS, prediction_columns),
        (evaluation.ANSWERS, answer_columns),
        (evaluation.REGRESSIONS, numbers),
        (evaluation_details.UNCERTAINTY, [uncertainty]),
    )
    built = {
        contract.name: contract.build(rows[contract.name]) for contract in evaluation.TABLES if contract.name in rows
    }
    return built | {contract.name: _joined(contract, parts) for contract, parts in columns}


def _add_answers(
    rows: Rows,
    result: classification.EndpointResult,
    ecgs: GaussianTable,
    levels: Mapping[str, np.ndarray],
    settings: EvaluationSettings,
) -> None:
    for answers in protocol_scores(result, ecgs, levels):
        rows[evaluation.RULES.name].append(answers.name | answers.choices.row())
        rows[evaluation.METRICS.name] += metric_rows(answers, settings)
        if answers.protocol in classification.SHOWN_PROTOCOLS:
            rows[evaluation.STRATA.name] += strata_rows(answers, settings)
            rows[evaluation.RELIABILITY.name] += reliability_rows(answers, settings.reliability_bins)
            rows[evaluation.RISK_COVERAGE.name] += risk_coverage_rows(answers)


def _joined(contract: TableContract, columns: Sequence[Mapping[str, Any]]) -> pa.Table:
    tables = [pa.table(part, schema=contract.schema) for part in columns]
    return pa.concat_tables(tables).combine_chunks() if tables else contract.schema.empty_table()
