"""What the report compares: student and baseline, thresholds and sites with this cohort, teacher and echoes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from data_contracts import conventions, evaluation, evaluation_details
from data_contracts.tables import TableContract
from echoingecg.evaluation.data import names
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


_BASELINE = "ECG measurements without a network"


def verdict(results: EvaluationResults, endpoint: str, protocol: str) -> str:
    """Says in one sentence whether a protocol beats the baseline on the test ECGs that both have scored.

    The difference of both AUROCs has a 95 % interval from the same resamples of the same patients
    (`bootstrap.paired_differences`); without 0 inside it one of them is better.

    Args:
        endpoint: name of a question.
        protocol: whose scores are compared with those of `names.ECG_MEASUREMENTS`.
    """
    table = results.tables[evaluation.PREDICTIONS.name]
    table = table.filter(pc.and_(pc.equal(table["endpoint"], endpoint), pc.equal(table["split"], "test")))
    sides = [
        table.filter(pc.equal(table["protocol"], name)).select(
            ["record_id", "patient_id", "label", "score", "decision"]
        )
        for name in (protocol, names.ECG_MEASUREMENTS)
    ]
    rows = sides[0].join(
        sides[1].drop_columns(["patient_id", "label"]), "record_id", join_type="inner", right_suffix="_of_baseline"
    )
    rows = rows.sort_by("record_id")
    label = rows["label"].to_numpy().astype(np.int8)
    if len(np.unique(label)) < 2:
        return f"Not compared with {_BASELINE}: no score of it for ECGs of both classes."
    patients = bootstrap.Patients.from_names(rows["patient_id"].to_numpy().astype(np.str_))
    metrics = [
        classification.binary_metrics(
            label, rows["score" + suffix].to_numpy(), rows["decision" + suffix].to_numpy(), patients
        )
        for suffix in ("", "_of_baseline")
    ]
    first, second = ({classification.AUROC: side[classification.AUROC]} for side in metrics)
    settings = results.settings
    difference = bootstrap.paired_differences(first, second, patients, settings.bootstrap_draws, settings.seed)[
        classification.AUROC
    ]
    if difference.difference is None or difference.low is None or difference.high is None:
        return f"Not compared with {_BASELINE}: one class is of one patient."
    estimate = bootstrap.Estimate(difference.difference, difference.low, difference.high)
    size = f"AUROC difference {wording.value_text(estimate)} ({wording.interval_text(estimate)})"
    if difference.low > 0:
        return f"Better than {_BASELINE}: {size}."
    if difference.high < 0:
        return f"Worse than {_BASELINE}: {size}."
    return f"Not shown to be better than {_BASELINE}: {size}."


def shift_table(results: EvaluationResults) -> dict[str, Any]:
    """Shares in training and test patients, and the distance of the embeddings as text."""
    rows = results.tables[evaluation_details.SHIFT.name].to_pylist()
    return {
        "shares": [
            {
                "label": f"label 1: {row['name']}" if row["measure"] == "prevalence" else row["name"],
                "reference": f"{100 * row['reference_value']:.1f} %",
                "compared": f"{100 * row['compared_value']:.1f} %",
                "difference": wording.percent_text(bootstrap.Estimate(row["value"], row["low"], row["high"])),
            }
            for row in rows
            if row["reference_value"] is not None
        ],
        "embedding": [f"{row['value']:.4f} (p = {row['p']:.3f})" for row in rows if row["p"] is not None],
        "studies": _study_shares(results),
    }


def _study_shares(results: EvaluationResults) -> list[str]:
    """Share of typical echo studies in each split, as text; empty where too few tell what is typical."""
    shares = []
    for side in conventions.SPLITS:
        rows = results.rows(evaluation_details.STUDY_TYPICALITY, split=side)
        if any(row["distance"] is None for row in rows):
            return []
        if rows:
            typical = sum(row["is_typical"] for row in rows)
            shares.append(f"{side} {typical:,} of {len(rows):,} ({100 * typical / len(rows):.1f} %)")
    return shares


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
