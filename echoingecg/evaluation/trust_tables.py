"""The report's tables on trust: referral, calibration, ranking of errors, subgroups, shift. Text from tables alone."""

from typing import Any, Final

from data_contracts.evaluation import RULES, STRATA
from data_contracts.evaluation_space import SHIFT
from echoingecg.evaluation.answers import MEAN_LOG_VAR, SCORE_DISTANCE
from echoingecg.evaluation.metrics.bootstrap import Estimate
from echoingecg.evaluation.metrics.classification import (
    AUROC,
    BALANCED_ACCURACY,
    BRIER,
    ECE,
    ERROR_RATE,
    SENSITIVITY,
    SPECIFICITY,
)
from echoingecg.evaluation.protocols.classification import DRAWN
from echoingecg.evaluation.report.results import EvaluationResults
from echoingecg.evaluation.tables.rows import (
    ANSWERED,
    ANSWERED_SHARE,
    AURC,
    COVERAGE,
    SENSITIVITY_AT,
    SPECIFICITY_ATTAINED,
    WRONGLY_ANSWERED,
)
from echoingecg.evaluation.uncertainty import ALL
from echoingecg.evaluation.words import interval_text, percent_text, probability_text, protocol_name, value_text

Cell = dict[str, str]
NOTHING: Final = Estimate(None, None, None)
_MEASURES: Final = (
    (ALL, SENSITIVITY_AT, "Sensitivity at the recipe's specificity"),
    (ALL, SPECIFICITY_ATTAINED, "… specificity attained there"),
    (ALL, f"{COVERAGE}_1", "Conformal sets that hold the truth, label 1"),
    (ALL, f"{COVERAGE}_0", "Conformal sets that hold the truth, label 0"),
    (ALL, ANSWERED_SHARE, "Answered, not referred to echo"),
    (ALL, f"{WRONGLY_ANSWERED}_1", "Answered wrongly, of label 1"),
    (ALL, f"{WRONGLY_ANSWERED}_0", "Answered wrongly, of label 0"),
    (ALL, ERROR_RATE, "Error rate, all test ECGs"),
    (ANSWERED, ERROR_RATE, "Error rate, answered ECGs"),
    (ALL, f"{AURC}_{MEAN_LOG_VAR}", "AURC, ranked by variance"),
    (ALL, f"{AURC}_{SCORE_DISTANCE}", "AURC, ranked by distance to the threshold"),
    (ALL, BRIER, "Brier score"),
    (ALL, f"{BRIER}_platt", "… after Platt"),
    (ALL, f"{BRIER}_isotonic", "… after isotonic regression"),
    (ALL, ECE, "Calibration error (ECE)"),
    (ALL, f"{ECE}_platt", "… after Platt"),
    (ALL, f"{ECE}_isotonic", "… after isotonic regression"),
)
STRATA_METRICS: Final = (AUROC, BALANCED_ACCURACY, SENSITIVITY, SPECIFICITY)


def trust_tables(results: EvaluationResults) -> list[dict[str, Any]]:
    """For each endpoint: the protocols that figures show, a row a measure with a cell each, and the rule in words."""
    groups = results.group_metrics()
    found = []
    rules: dict[str, list[dict[str, Any]]] = {}
    for row in results.tables[RULES.name].to_pylist():
        if row["protocol"] in DRAWN:
            rules.setdefault(row["endpoint"], []).append(row)
    for endpoint, of_endpoint in rules.items():
        protocols = [row["protocol"] for row in of_endpoint]
        if not groups[endpoint, protocols[0], ALL].records:
            continue
        rows = [
            {
                "says": says,
                "cells": [
                    cell(groups[endpoint, protocol, group].estimates.get(metric, NOTHING)) for protocol in protocols
                ],
            }
            for group, metric, says in _MEASURES
        ]
        found.append(
            {
                "name": endpoint,
                "protocols": [protocol_name(one) for one in protocols],
                "rows": rows,
                "rules": [_rule(row) for row in of_endpoint],
            }
        )
    return found


def _rule(row: dict[str, Any]) -> str:
    one = f"from {probability_text(row['one_from'])} on" if row["one_from"] >= 0 else "whatever the score"
    zero = f"up to {probability_text(row['zero_to'])}" if row["zero_to"] <= 1 else "whatever the score"
    made = "" if row["calibration"] == "none" else f" Probabilities are calibrated by {row['calibration']}."
    return f"{protocol_name(row['protocol'])}: label 1 is possible {one}, label 0 {zero}.{made}"


def strata_tables(results: EvaluationResults) -> list[dict[str, Any]]:
    """For each endpoint and protocol: a row a level, with its size and a cell for each of STRATA_METRICS."""
    found: dict[tuple[str, str], dict[tuple[str, str], dict[str, Any]]] = {}
    for row in results.tables[STRATA.name].to_pylist():
        levels = found.setdefault((row["endpoint"], row["protocol"]), {})
        level = levels.setdefault(
            (row["stratum"], row["level"]),
            {name: row[name] for name in ("stratum", "level", "patients", "positives")}
            | {"negatives": row["records"] - row["positives"], "cells": {}},
        )
        if row["metric"] in STRATA_METRICS:
            level["cells"][row["metric"]] = cell(Estimate(row["value"], row["low"], row["high"]))
    return [
        {"name": endpoint, "protocol": protocol_name(protocol), "levels": list(levels.values())}
        for (endpoint, protocol), levels in found.items()
    ]


def shift_table(results: EvaluationResults) -> dict[str, Any]:
    """Shares in training and test patients, and the embedding's distance in words."""
    rows = results.tables[SHIFT.name].to_pylist()
    return {
        "shares": [
            {
                "says": f"label 1: {row['name']}" if row["measure"] == "prevalence" else row["name"],
                "reference": f"{100 * row['reference_value']:.1f} %",
                "compared": f"{100 * row['compared_value']:.1f} %",
                "difference": percent_text(Estimate(row["value"], row["low"], row["high"])),
            }
            for row in rows
            if row["reference_value"] is not None
        ],
        "embedding": [f"{row['value']:.4f} (p = {row['p']:.3f})" for row in rows if row["p"] is not None],
    }


def cell(found: Estimate) -> Cell:
    """A value and its interval as text."""
    return {"value": value_text(found), "interval": interval_text(found)}
