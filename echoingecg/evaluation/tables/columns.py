"""Columns of the tables that have a row for each ECG, and rows of few-shot results, from the results of an endpoint."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from echoingecg.evaluation.decision import threshold_and_referral
from echoingecg.evaluation.protocols.classification import EndpointResult, ProtocolResult


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
