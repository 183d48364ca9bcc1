"""What the report shows of TRANSFER, SITES, LEAD_SETS and TEACHER_CHECK: how student and teacher hold here."""

from collections.abc import Mapping
from typing import Any

from data_contracts import evaluation, evaluation_details
from data_contracts.tables import TableContract
from echoingecg.evaluation.metrics import bootstrap, classification, transfer
from echoingecg.evaluation.protocols import teacher_check
from echoingecg.evaluation.report import wording
from echoingecg.evaluation.report.results import EvaluationResults
from echoingecg.evaluation.tables import rows as table_rows

_CORRECTED_TO = ", corrected to a share of"
_LABELS = {
    transfer.PREVALENCE: "Share with label 1",
    transfer.CALIBRATION_SLOPE: "Calibration slope (perfect: 1)",
    transfer.CALIBRATION_INTERCEPT: "Calibration in the large (perfect: 0)",
    transfer.CALIBRATION_INTERCEPT + transfer.CORRECTED: f"Calibration in the large{_CORRECTED_TO}",
    transfer.OBSERVED_TO_EXPECTED: "Observed over expected (perfect: 1)",
    transfer.OBSERVED_TO_EXPECTED + transfer.CORRECTED: f"Observed over expected{_CORRECTED_TO}",
    transfer.PPV: "Positive predictive value at a share of",
    transfer.NPV: "Negative predictive value at a share of",
    transfer.NET_BENEFIT: "Net benefit, echo from a probability of",
    transfer.NET_BENEFIT + transfer.CORRECTED: "Net benefit, echo from a corrected probability of",
    transfer.NET_BENEFIT_OF_ALL: "Net benefit of echo for all, weighed as at",
}


def transfer_tables(results: EvaluationResults) -> list[dict[str, Any]]:
    """For each question: its protocols by name, and rows of a label and a cell for each protocol."""
    return [
        _table(endpoint.name, rows)
        for endpoint in results.settings.endpoints
        if (rows := results.rows(evaluation_details.TRANSFER, endpoint=endpoint.name)) and rows[0]["records"]
    ]


_METHODS = {teacher_check.PROMPTS: "Prompts", teacher_check.PROBE: "Probe on its vectors"}


def teacher_table(results: EvaluationResults) -> dict[str, Any]:
    """Warnings, and a row for each finding and method with its cells; without rows where nothing was compared."""
    rows = results.rows(evaluation_details.TEACHER_CHECK)
    findings: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        finding = findings.setdefault(
            (row["kind"], row["endpoint"], row["method"]),
            {
                "name": row["endpoint"],
                "method": _METHODS[row["method"]],
                "sizes": f"{row['studies']:,}"
                + ("" if row["positives"] is None else f", {row['positives']:,} with label 1"),
                "few": row["limit"] is not None and row["is_below"] is None,
                "cells": {},
            },
        )
        finding["cells"][row["metric"]] = _cell(row)
    metrics = (classification.AUROC, classification.PEARSON, classification.MAE, teacher_check.BIAS)
    return {
        "warnings": teacher_check.warnings_of(rows),
        "rows": [
            finding | {"cells": [finding["cells"].get(metric, {"value": "", "interval": ""}) for metric in metrics]}
            for finding in findings.values()
        ],
    }


_SITE_METRICS = {
    classification.AUROC: "AUROC",
    classification.SENSITIVITY: "Sensitivity",
    classification.SPECIFICITY: "Specificity",
    transfer.CALIBRATION_SLOPE: "Calibration slope",
    transfer.OBSERVED_TO_EXPECTED: "Observed over expected",
}


_LEAD_METRICS = {
    classification.AUROC: "AUROC",
    table_rows.ANSWERED_SHARE: "Answered",
    f"{table_rows.COVERAGE}_1": "Sets that contain label 1",
    f"{table_rows.COVERAGE}_0": "Sets that contain label 0",
    f"{table_rows.WRONGLY_ANSWERED}_1": "Answered wrongly, of label 1",
    f"{table_rows.WRONGLY_ANSWERED}_0": "Answered wrongly, of label 0",
}


def site_tables(results: EvaluationResults) -> dict[str, Any]:
    """Headings, and for each question and protocol a row for each site left out; without rows where none was."""
    return _by_part(results, evaluation.SITES, "site", _SITE_METRICS)


def lead_set_tables(results: EvaluationResults) -> dict[str, Any]:
    """Headings, and for each question and protocol a row for each set of leads; none for a student of twelve alone."""
    return _by_part(results, evaluation.LEAD_SETS, "leads", _LEAD_METRICS)


def _by_part(
    results: EvaluationResults, contract: TableContract, column: str, metrics: Mapping[str, str]
) -> dict[str, Any]:
    parts: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in results.rows(contract):
        part = parts.setdefault((row["endpoint"], row["protocol"]), {}).setdefault(
            row[column], {"part": row[column], "patients": row["patients"], "cells": {}}
        )
        part["cells"][row["metric"]] = _cell(row)
    return {
        "headings": list(metrics.values()),
        "tables": [
            {
                "name": f"{endpoint}, {wording.protocol_name(protocol)}",
                "rows": [
                    row | {"cells": [row["cells"].get(metric, _cell(None)) for metric in metrics]}
                    for row in rows.values()
                ],
            }
            for (endpoint, protocol), rows in parts.items()
        ],
    }


def _table(endpoint: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    cells = {(row["protocol"], row["metric"], row["at"]): row for row in rows}
    order = list(_LABELS)
    keys = sorted({(row["metric"], row["at"]) for row in rows}, key=lambda key: (order.index(key[0]), key[1] or 0.0))
    return {
        "name": endpoint,
        "protocols": [wording.protocol_name(protocol) for protocol in protocols],
        "rows": [
            {
                "label": _LABELS[metric] + ("" if place is None else f" {100 * place:g} %"),
                "cells": [_cell(cells.get((protocol, metric, place))) for protocol in protocols],
            }
            for metric, place in keys
        ],
    }


def _cell(row: dict[str, Any] | None) -> dict[str, str]:
    estimate = bootstrap.Estimate(None, None, None)
    if row is not None:
        estimate = bootstrap.Estimate(row["value"], row["low"], row["high"])
    return {"value": wording.value_text(estimate), "interval": wording.interval_text(estimate)}
