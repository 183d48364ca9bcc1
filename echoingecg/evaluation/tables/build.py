"""Builds every table of the artefact, by its name in data_contracts.evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from data_contracts import evaluation, evaluation_details
from data_contracts.tables import TableContract
from echoingecg.evaluation.data.embed import GaussianTable
from echoingecg.evaluation.data.inputs import EvaluationInputs, EvaluationPairs
from echoingecg.evaluation.decision import threshold_and_referral
from echoingecg.evaluation.metrics import selective, shift
from echoingecg.evaluation.protocols import regression, retrieval
from echoingecg.evaluation.protocols.classification import SHOWN_PROTOCOLS, EndpointResult, ProtocolResult
from echoingecg.evaluation.protocols.trust import CohortTrust, study_columns
from echoingecg.evaluation.tables import rows as table_rows
from echoingecg.recipe import EvaluationSettings

Rows = dict[str, list[dict[str, Any]]]
_BY_COLUMN = (
    evaluation.PREDICTIONS,
    evaluation.ANSWERS,
    evaluation.REGRESSIONS,
    evaluation.INTERVALS,
    evaluation_details.UNCERTAINTY,
    evaluation_details.STUDY_TYPICALITY,
)  # one row for each ECG: too many for a dict each


def build_tables(
    endpoints: Sequence[EndpointResult],
    regressions: Sequence[regression.RegressionResult],
    retrieved: Mapping[str, retrieval.Retrieval],
    inputs: EvaluationInputs,
    pairs: EvaluationPairs,
    ecgs: GaussianTable,
    trust: CohortTrust,
    settings: EvaluationSettings,
) -> dict[str, pa.Table]:
    """Builds the tables; strata and curves for the protocols that figures show, all others for every protocol.

    Args:
        endpoints, regressions: results of the questions and of the numbers.
        retrieved: retrieval results by direction.
        inputs: of the stage.
        pairs: of the same inputs.
        ecgs: r embeddings of the paired ECGs by the student under test.
        trust: in the same ECGs.
        settings: of the same results.
    """
    rows: Rows = {contract.name: [] for contract in evaluation.TABLES if contract not in _BY_COLUMN}
    strata = selective.subgroup_levels(pairs.record_id, inputs.subgroups, inputs.records, settings.age_bands)
    shifts = shift.SideComparison("train", "test", settings.bootstrap_draws, settings.seed)
    for result in endpoints:
        own = np.searchsorted(pairs.record_id, result.record_id)
        levels = {name: level[own] for name, level in strata.items()}
        levels |= {"gap": selective.gap_levels(result.gap_hours)}
        _add_protocol_rows(rows, result, ecgs[own], levels, settings)
        rows[evaluation.FEW_SHOT.name] += [row | {"draws": settings.few_shot.draws} for row in few_shot_rows(result)]
        name, holds = result.endpoint.name, result.label == 1
        rows[evaluation_details.SHIFT.name] += shifts.share("prevalence", name, holds, result.split, result.patient_id)
    rows[evaluation_details.SHIFT.name] += shifts.shares(strata, pairs.split, pairs.patient_id)
    rows[evaluation_details.SHIFT.name] += shifts.embedding(ecgs.mean, pairs.split, pairs.patient_id)
    for number in regressions:
        rows[evaluation.REGRESSION_METRICS.name] += regression.regression_metric_rows(number, settings)
    for direction, retrieval_result in retrieved.items():
        rows[evaluation_details.RETRIEVAL.name] += retrieval_result.rows(direction)
    asked: list[EndpointResult | regression.RegressionResult] = [*endpoints, *regressions]
    rows[evaluation_details.COHORT.name] += table_rows.cohort_rows(pairs)
    rows[evaluation_details.ASKED.name] += table_rows.asked_rows(asked)
    rows[evaluation_details.LABELLED.name] += table_rows.labelled_rows(asked)
    rows[evaluation_details.ATTEMPTS.name] += table_rows.attempt_rows(asked)
    rows[evaluation_details.EMBEDDING_MAP.name] += table_rows.map_rows(pairs, ecgs, inputs.target_mean)
    predictions = [prediction_columns(result, protocol) for result in endpoints for protocol in result.protocols]
    answers = [answer_columns(result, protocol) for result in endpoints for protocol in result.protocols]
    numbers = [
        regression.regression_columns(result, protocol) for result in regressions for protocol in result.predicted
    ]
    uncertainty = {
        "record_id": pairs.record_id,
        "split": pairs.split,
        **table_rows.summaries(ecgs),
        "typicality": pa.array(trust.distance, from_pandas=True, mask=~np.isfinite(trust.distance)),
        "is_typical": trust.is_typical,
    }
    columns = (
        (evaluation.PREDICTIONS, predictions),
        (evaluation.ANSWERS, answers),
        (evaluation.REGRESSIONS, numbers),
        (evaluation.INTERVALS, [regression.interval_columns(result) for result in regressions if result.answers]),
        (evaluation_details.UNCERTAINTY, [uncertainty]),
        (evaluation_details.STUDY_TYPICALITY, [study_columns(inputs, settings.typical_share)]),
    )
    built = {
        contract.name: contract.build(rows[contract.name]) for contract in evaluation.TABLES if contract.name in rows
    }
    return built | {contract.name: _joined(contract, parts) for contract, parts in columns}


def _add_protocol_rows(
    rows: Rows,
    result: EndpointResult,
    ecgs: GaussianTable,
    levels: Mapping[str, np.ndarray],
    settings: EvaluationSettings,
) -> None:
    for scores in table_rows.protocol_scores(result, ecgs, levels):
        rows[evaluation.RULES.name].append(scores.name | scores.choices.row())
        rows[evaluation.METRICS.name] += table_rows.metric_rows(scores, settings)
        if scores.protocol in SHOWN_PROTOCOLS:
            rows[evaluation.STRATA.name] += table_rows.strata_rows(scores, settings)
            rows[evaluation.RELIABILITY.name] += table_rows.reliability_rows(scores, settings.reliability_bins)
            rows[evaluation_details.TRANSFER.name] += table_rows.transfer_rows(scores, settings)
            rows[evaluation.RISK_COVERAGE.name] += table_rows.risk_coverage_rows(scores)


def _joined(contract: TableContract, columns: Sequence[Mapping[str, Any]]) -> pa.Table:
    tables = [pa.table(part, schema=contract.schema) for part in columns]
    return pa.concat_tables(tables).combine_chunks() if tables else contract.schema.empty_table()


def prediction_columns(result: EndpointResult, protocol: ProtocolResult) -> dict[str, Any]:
    """Columns of evaluation.PREDICTIONS."""
    return {
        "endpoint": [result.endpoint.name] * len(result.label),
        "protocol": [protocol.protocol] * len(result.label),
        "record_id": result.record_id,
        "patient_id": result.patient_id,
        "split": result.split,
        "label": result.label,
        "score": protocol.score,
        "decision": protocol.decision,
        "uncertainty": result.uncertainty,
    }


def answer_columns(result: EndpointResult, protocol: ProtocolResult) -> dict[str, Any]:
    """Columns of evaluation.ANSWERS: what prediction gives for the same ECGs."""
    return {
        "endpoint": [result.endpoint.name] * len(result.label),
        "protocol": [protocol.protocol] * len(result.label),
        "record_id": result.record_id,
        "split": result.split,
        "probability": [None] * len(result.label) if protocol.probability is None else protocol.probability,
        "distance": protocol.consistent.distance,
        "deviation": protocol.echo.deviation,
        "advice": threshold_and_referral.advice(protocol.is_decided & result.is_answerable),
    }


def few_shot_rows(result: EndpointResult) -> Iterator[dict[str, Any]]:
    """Rows of evaluation.FEW_SHOT, without the number of draws."""
    label = result.label[result.test]
    for model, results in result.few_shot.items():
        for entry in results:
            yield {
                "endpoint": result.endpoint.name,
                "model": model,
                **asdict(entry),
                "records": len(label),
                "positives": int(label.sum()),
            }
