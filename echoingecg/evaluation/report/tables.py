"""The report's tables of questions and numbers, as text, from the artefact's tables.

The report's tables on trust: referral, calibration, ranking of errors, subgroups, shift. Text from tables alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from data_contracts import conventions, evaluation, evaluation_details
from echoingecg.evaluation.metrics import bootstrap, selective
from echoingecg.evaluation.metrics.classification import (
    AUPRC,
    AUROC,
    BALANCED_ACCURACY,
    BRIER,
    ECE,
    ERROR_RATE,
    SENSITIVITY,
    SPECIFICITY,
)
from echoingecg.evaluation.protocols.classification import DRAWN
from echoingecg.evaluation.report.results import (
    GROUP_NAMES,
    NONE,
    EvaluationResults,
    GroupMetrics,
    interval_text,
    model_name,
    percent_text,
    probability_text,
    protocol_name,
    value_text,
)
from echoingecg.evaluation.tables.rows import (
    ANSWERED,
    ANSWERED_SHARE,
    AURC,
    COVERAGE,
    MEAN_LOG_VAR,
    SCORE_DISTANCE,
    SENSITIVITY_AT,
    SPECIFICITY_ATTAINED,
    WRONGLY_ANSWERED,
)
from echoingecg.recipe import Endpoint, RegressionEndpoint

Cell = dict[str, str]
NOTHING = bootstrap.Estimate(None, None, None)
_MEASURES = (
    (selective.ALL, SENSITIVITY_AT, "Sensitivity at the recipe's specificity"),
    (selective.ALL, SPECIFICITY_ATTAINED, "… specificity attained there"),
    (selective.ALL, f"{COVERAGE}_1", "Conformal sets that hold the truth, label 1"),
    (selective.ALL, f"{COVERAGE}_0", "Conformal sets that hold the truth, label 0"),
    (selective.ALL, ANSWERED_SHARE, "Answered, not referred to echo"),
    (selective.ALL, f"{WRONGLY_ANSWERED}_1", "Answered wrongly, of label 1"),
    (selective.ALL, f"{WRONGLY_ANSWERED}_0", "Answered wrongly, of label 0"),
    (selective.ALL, ERROR_RATE, "Error rate, all test ECGs"),
    (ANSWERED, ERROR_RATE, "Error rate, answered ECGs"),
    (selective.ALL, f"{AURC}_{MEAN_LOG_VAR}", "AURC, ranked by variance"),
    (selective.ALL, f"{AURC}_{SCORE_DISTANCE}", "AURC, ranked by distance to the threshold"),
    (selective.ALL, BRIER, "Brier score"),
    (selective.ALL, f"{BRIER}_platt", "… after Platt"),
    (selective.ALL, f"{BRIER}_isotonic", "… after isotonic regression"),
    (selective.ALL, ECE, "Calibration error (ECE)"),
    (selective.ALL, f"{ECE}_platt", "… after Platt"),
    (selective.ALL, f"{ECE}_isotonic", "… after isotonic regression"),
)
STRATA_METRICS = (AUROC, BALANCED_ACCURACY, SENSITIVITY, SPECIFICITY)


def trust_tables(results: EvaluationResults) -> list[dict[str, Any]]:
    """For each endpoint: the protocols that figures show, a row a measure with a cell each, and the rule in words."""
    groups = results.group_metrics()
    found = []
    rules: dict[str, list[dict[str, Any]]] = {}
    for row in results.tables[evaluation.RULES.name].to_pylist():
        if row["protocol"] in DRAWN:
            rules.setdefault(row["endpoint"], []).append(row)
    for endpoint, of_endpoint in rules.items():
        protocols = [row["protocol"] for row in of_endpoint]
        if not groups[endpoint, protocols[0], selective.ALL].records:
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
    for row in results.tables[evaluation.STRATA.name].to_pylist():
        levels = found.setdefault((row["endpoint"], row["protocol"]), {})
        level = levels.setdefault(
            (row["stratum"], row["level"]),
            {name: row[name] for name in ("stratum", "level", "patients", "positives")}
            | {"negatives": row["records"] - row["positives"], "cells": {}},
        )
        if row["metric"] in STRATA_METRICS:
            level["cells"][row["metric"]] = cell(bootstrap.Estimate(row["value"], row["low"], row["high"]))
    return [
        {"name": endpoint, "protocol": protocol_name(protocol), "levels": list(levels.values())}
        for (endpoint, protocol), levels in found.items()
    ]


def shift_table(results: EvaluationResults) -> dict[str, Any]:
    """Shares in training and test patients, and the embedding's distance in words."""
    rows = results.tables[evaluation_details.SHIFT.name].to_pylist()
    return {
        "shares": [
            {
                "says": f"label 1: {row['name']}" if row["measure"] == "prevalence" else row["name"],
                "reference": f"{100 * row['reference_value']:.1f} %",
                "compared": f"{100 * row['compared_value']:.1f} %",
                "difference": percent_text(bootstrap.Estimate(row["value"], row["low"], row["high"])),
            }
            for row in rows
            if row["reference_value"] is not None
        ],
        "embedding": [f"{row['value']:.4f} (p = {row['p']:.3f})" for row in rows if row["p"] is not None],
    }


def cell(found: bootstrap.Estimate) -> Cell:
    """A value and its interval as text."""
    return {"value": value_text(found), "interval": interval_text(found)}


FEW = 10  # fewer of either class, and a number is marked
Groups = Mapping[tuple[str, str, str], GroupMetrics]


def question(endpoint: Endpoint) -> str:
    """`lvef < 40 %`"""
    sign = {"<=": "≤", ">=": "≥"}.get(endpoint.comparison, endpoint.comparison)
    return f"{endpoint.measurement} {sign} {endpoint.threshold:g} {endpoint.unit}".rstrip()


def endpoint_tables(results: EvaluationResults) -> list[dict[str, Any]]:
    """A question each, in the recipe's order: what was asked, of how many, and its rows of metrics."""
    groups = results.group_metrics()
    return [_endpoint(results, one, groups) for one in results.settings.endpoints]


def _endpoint(results: EvaluationResults, endpoint: Endpoint, groups: Groups) -> dict[str, Any]:
    attempts = results.rows(evaluation_details.ATTEMPTS, kind=evaluation_details.QUESTION, endpoint=endpoint.name)
    ran = {row["protocol"]: row["threshold_says"] for row in attempts if row["left_out"] is None}
    threshold = {row["protocol"]: row["threshold"] for row in results.rows(evaluation.RULES, endpoint=endpoint.name)}
    labelled = results.labelled(evaluation_details.QUESTION, endpoint.name)
    rows = [
        _metric_row(protocol, group, groups[endpoint.name, protocol, group])
        for protocol in ran
        for group in (GROUP_NAMES if protocol in DRAWN else (selective.ALL,))
        if groups[endpoint.name, protocol, group].records
    ]
    no_metric = _no_metric(labelled["test"], _left_out(results, evaluation_details.QUESTION, endpoint))
    return {
        "name": endpoint.name,
        "question": question(endpoint),
        "valid_range": _range(endpoint),
        "source": endpoint.source,
        "prompts": {"Label 1": endpoint.positive_prompts, "Label 0": endpoint.negative_prompts},
        "no_metric": no_metric,
        "few": not no_metric and min(labelled["test"]["positives"], _negatives(labelled["test"])) < FEW,
        "obstacles": no_metric + _obstacles(attempts),
        "rows": rows if not no_metric else [],
        "headline": [row for row in rows if row["whole"] and row["drawn"]] if not no_metric else [],
        "results": [] if no_metric else [_result_row(groups, endpoint.name, protocol) for protocol in ran],
        "thresholds": [
            {"protocol": protocol_name(one), "value": probability_text(threshold[one]), "says": says}
            for one, says in ran.items()
        ],
        "splits": {side: labelled[side] for side in conventions.SPLITS},
        "left_out": _left_out(results, evaluation_details.QUESTION, endpoint),
    }


def _negatives(of_split: Mapping[str, int]) -> int:
    return of_split["records"] - of_split["positives"]


def _no_metric(test: Mapping[str, int], left_out: str) -> list[str]:
    """Why no metric can be given, if none can."""
    records, positives = test["records"], test["positives"]
    if records == 0:
        return [f"Not evaluated: no ECG of the test split has a label. {left_out}"]
    if positives in (0, records):
        all_are = "no" if positives == 0 else "only"
        return [f"No metric: {all_are} positive among the {records} labelled test ECGs, so nothing to tell apart."]
    return []


def _obstacles(attempts: list[dict[str, Any]]) -> list[str]:
    """A line a reason."""
    reasons: dict[str, list[str]] = {}
    for row in attempts:
        if row["left_out"] is not None:
            reasons.setdefault(row["left_out"], []).append(protocol_name(row["protocol"]))
    return [f"{' · '.join(names)} left out: {reason}." for reason, names in reasons.items()]


def _left_out(results: EvaluationResults, kind: str, endpoint: Endpoint | RegressionEndpoint) -> str:
    (found,) = results.rows(evaluation_details.ASKED, kind=kind, endpoint=endpoint.name)
    return (
        f"Of {found['studies']} paired studies {found['absent']} have no measurement '{endpoint.measurement}', "
        f"{found['unit_mismatch']} have it in another unit than '{endpoint.unit}', {found['impossible']} hold an "
        f"impossible value, {found['labelled']} are labelled."
        + (f" {found['sex_unknown']} lack the sex that the threshold depends on." if found["sex_unknown"] else "")
    )


def _range(endpoint: Endpoint | RegressionEndpoint) -> str:
    return f"{endpoint.valid_range[0]:g} to {endpoint.valid_range[1]:g} {endpoint.unit}".rstrip()


def _result_row(groups: Groups, endpoint: str, protocol: str) -> dict[str, Any]:
    """Balanced accuracy of all and of each half, in per cent as the paper gives it, and AUROC."""
    of_all = groups[endpoint, protocol, selective.ALL]
    halves = [groups[endpoint, protocol, group].estimates[BALANCED_ACCURACY] for group in GROUP_NAMES]
    return {
        "protocol": protocol_name(protocol),
        "cells": [percent_text(one) for one in halves],
        "auroc": cell(of_all.estimates[AUROC]),
    }


def _metric_row(protocol: str, group: str, found: GroupMetrics) -> dict[str, Any]:
    return {
        "protocol": protocol_name(protocol),
        "drawn": protocol in DRAWN,
        "group": GROUP_NAMES[group],
        "whole": group == selective.ALL,
        "auroc": cell(found.estimates[AUROC]),
        "auprc": cell(found.estimates[AUPRC]),
        "balanced_accuracy": cell(found.estimates[BALANCED_ACCURACY]),
        "records": found.records,
        "patients": found.patients,
        "positives": found.positives,
        "negatives": found.negatives,
        "few": min(found.positives, found.negatives) < FEW,
    }


def judged_trust(results: EvaluationResults, endpoints: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`trust_tables` of the questions that have metrics, without the rows that say nothing."""
    judged = {one["name"] for one in endpoints if one["results"]}
    return [
        one | {"rows": [row for row in one["rows"] if any(found["value"] != NONE for found in row["cells"])]}
        for one in trust_tables(results)
        if one["name"] in judged
    ]


def judged_strata(results: EvaluationResults, endpoints: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`strata_tables` of the same questions; `first` marks the first protocol of each, the others are folded away."""
    judged, seen = {one["name"] for one in endpoints if one["results"]}, set[str]()
    found = []
    for one in strata_tables(results):
        if one["name"] in judged:
            found.append(one | {"first": one["name"] not in seen})
            seen.add(one["name"])
    return found


def few_shot_tables(results: EvaluationResults) -> Iterator[dict[str, Any]]:
    """AUROC by model and number of cases, of each question for which cases were drawn."""
    for endpoint in results.settings.endpoints:
        of_models: dict[str, dict[int, Cell]] = {}
        for row in results.rows(evaluation.FEW_SHOT, endpoint=endpoint.name, metric=AUROC):
            found = bootstrap.Estimate(row["value"], row["low"], row["high"])
            of_models.setdefault(row["model"], {})[row["cases"]] = cell(found)
        cases = sorted({size for of_model in of_models.values() for size in of_model})
        if cases:
            rows = {model_name(model): [found[size] for size in cases] for model, found in of_models.items()}
            yield {"name": endpoint.name, "cases": cases, "rows": rows}


def number_tables(results: EvaluationResults) -> Iterator[dict[str, Any]]:
    """A number each, in the recipe's order: MAE and correlation by protocol."""
    for number in results.settings.regressions:
        of_protocols: dict[str, dict[str, Cell]] = {}
        for row in results.rows(evaluation.REGRESSION_METRICS, endpoint=number.name):
            found = cell(bootstrap.Estimate(row["value"], row["low"], row["high"]))
            of_protocols.setdefault(row["protocol"], {})[row["metric"]] = found
        missing = {"mae": cell(NOTHING), "pearson": cell(NOTHING)}
        yield {
            "name": number.name,
            "unit": number.unit,
            "source": number.source,
            "valid_range": _range(number),
            "records": results.labelled(evaluation_details.NUMBER, number.name)["test"]["records"],
            "rows": [{"protocol": protocol_name(one), **missing, **found} for one, found in of_protocols.items()],
            "obstacles": _obstacles(
                results.rows(evaluation_details.ATTEMPTS, kind=evaluation_details.NUMBER, endpoint=number.name)
            ),
            "left_out": _left_out(results, evaluation_details.NUMBER, number),
            "prompts": number.prompts,
        }
