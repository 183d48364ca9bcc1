"""The report's tables as text: questions, numbers, referral, calibration and subgroups."""

from collections.abc import Collection, Iterator, Mapping
from math import isfinite
from typing import Any

from data_contracts import conventions, evaluation, evaluation_details
from echoingecg.evaluation.data import names
from echoingecg.evaluation.metrics import bootstrap, classification, selective
from echoingecg.evaluation.protocols import regression
from echoingecg.evaluation.protocols.classification import SHOWN_PROTOCOLS
from echoingecg.evaluation.report import comparison_tables, wording
from echoingecg.evaluation.report.results import EvaluationResults, GroupMetrics
from echoingecg.evaluation.tables import rows as table_rows
from echoingecg.recipe import Endpoint, RegressionEndpoint

Cell = dict[str, str]
NOTHING = bootstrap.Estimate(None, None, None)
_MEASURES = (
    (selective.ALL, table_rows.SENSITIVITY_AT, "Sensitivity at the recipe's specificity"),
    (selective.ALL, table_rows.SPECIFICITY_ATTAINED, "… specificity reached there"),
    (selective.ALL, f"{table_rows.COVERAGE}_1", "Conformal sets that contain the true label, label 1"),
    (selective.ALL, f"{table_rows.COVERAGE}_0", "Conformal sets that contain the true label, label 0"),
    (selective.ALL, table_rows.ANSWERED_SHARE, "Answered, not referred to echo"),
    (selective.ALL, f"{table_rows.WRONGLY_ANSWERED}_1", "Answered wrongly, of label 1"),
    (selective.ALL, f"{table_rows.WRONGLY_ANSWERED}_0", "Answered wrongly, of label 0"),
    (selective.ALL, classification.ERROR_RATE, "Error rate, all test ECGs"),
    (table_rows.ANSWERED_GROUP, classification.ERROR_RATE, "Error rate, answered ECGs"),
    (
        selective.ALL,
        f"{table_rows.AURC}_{table_rows.PREDICTIVE_DISTANCE}",
        "AURC, ranked by distance in predictive deviations",
    ),
    (selective.ALL, f"{table_rows.AURC}_{table_rows.MEAN_LOG_VAR}", "AURC, ranked by the PCME++ variance"),
    (
        selective.ALL,
        f"{table_rows.AURC}_{table_rows.SCORE_DISTANCE}",
        "AURC, ranked by distance to the threshold in log-odds",
    ),
    (selective.ALL, classification.BRIER, "Brier score"),
    (selective.ALL, f"{classification.BRIER}_platt", "… after Platt"),
    (selective.ALL, f"{classification.BRIER}_isotonic", "… after isotonic regression"),
    (selective.ALL, classification.ECE, "Calibration error (ECE)"),
    (selective.ALL, f"{classification.ECE}_platt", "… after Platt"),
    (selective.ALL, f"{classification.ECE}_isotonic", "… after isotonic regression"),
)
STRATA_METRICS = (
    classification.AUROC,
    classification.BALANCED_ACCURACY,
    classification.SENSITIVITY,
    classification.SPECIFICITY,
)


def trust_tables(results: EvaluationResults) -> list[dict[str, Any]]:
    """For each endpoint: shown protocols, one row for each measure, and the rules of referral as text."""
    groups = results.group_metrics()
    tables = []
    rules: dict[str, list[dict[str, Any]]] = {}
    for row in results.tables[evaluation.RULES.name].to_pylist():
        if row["protocol"] in SHOWN_PROTOCOLS:
            rules.setdefault(row["endpoint"], []).append(row)
    for endpoint, of_endpoint in rules.items():
        protocols = [row["protocol"] for row in of_endpoint]
        if not groups[endpoint, protocols[0], selective.ALL].records:
            continue
        rows = [
            {
                "label": label,
                "cells": [
                    cell(groups[endpoint, protocol, group].estimates.get(metric, NOTHING)) for protocol in protocols
                ],
            }
            for group, metric, label in _MEASURES
        ]
        tables.append(
            {
                "name": endpoint,
                "protocols": [wording.protocol_name(protocol) for protocol in protocols],
                "rows": rows,
                "rules": [_rule(row) for row in of_endpoint],
            }
        )
    return tables


def _rule(row: dict[str, Any]) -> str:
    label_one = f"from a distance of {row['one_from']:.2f} on" if isfinite(row["one_from"]) else "at any distance"
    label_zero = f"up to {row['zero_to']:.2f}" if isfinite(row["zero_to"]) else "at any distance"
    made = "Scores are not calibrated."
    if row["calibration"] != "none":
        made = f"Probabilities are calibrated by {row['calibration']}."
    return f"{wording.protocol_name(row['protocol'])}: label 1 is possible {label_one}, label 0 {label_zero}. {made}"


def strata_tables(results: EvaluationResults) -> list[dict[str, Any]]:
    """For each endpoint and protocol: one row for each level, with its size and a cell for each of STRATA_METRICS."""
    tables: dict[tuple[str, str], dict[tuple[str, str], dict[str, Any]]] = {}
    for row in results.tables[evaluation.STRATA.name].to_pylist():
        levels = tables.setdefault((row["endpoint"], row["protocol"]), {})
        level = levels.setdefault(
            (row["stratum"], row["level"]),
            {name: row[name] for name in ("stratum", "level", "patients", "positives")}
            | {"negatives": row["records"] - row["positives"], "cells": {}},
        )
        if row["metric"] in STRATA_METRICS:
            level["cells"][row["metric"]] = cell(bootstrap.Estimate(row["value"], row["low"], row["high"]))
    return [
        {"name": endpoint, "protocol": wording.protocol_name(protocol), "levels": list(levels.values())}
        for (endpoint, protocol), levels in tables.items()
    ]


def stress_rows(results: EvaluationResults) -> dict[str, list[dict[str, Any]]]:
    """Rows of STRESS by question, in the recipe's order; empty without a stress test."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in results.rows(evaluation_details.STRESS):
        rows.setdefault(row["endpoint"], []).append(row)
    return rows


def stress_tables(results: EvaluationResults) -> list[dict[str, Any]]:
    """For each question the stress test as text: the level of each disturbance, and what becomes of the answers."""
    return [
        {
            "endpoint": endpoint,
            "protocol": wording.protocol_name(rows[0]["protocol"]),
            "ecgs": rows[0]["ecgs"],
            "rows": [
                {
                    "name": row["disturbance"] if row["step"] else "as recorded",
                    "level": f"{row['level']:g} {row['unit']}" if row["step"] else "",
                    "answered": f"{100 * row['answered']:.0f} %",
                    "wrong": f"{100 * row['wrong']:.1f} %",
                    "typical": f"{100 * row['typical']:.0f} %",
                    "auroc": wording.NONE if row["auroc"] is None else f"{row['auroc']:.2f}",
                }
                for row in rows
                if row["step"] in (0, 1, 3, 5)
            ],
        }
        for endpoint, rows in stress_rows(results).items()
    ]


def cell(estimate: bootstrap.Estimate) -> Cell:
    """A value and its interval as text."""
    return {"value": wording.value_text(estimate), "interval": wording.interval_text(estimate)}


FEW = 10  # a number from fewer ECGs of a class is marked
Groups = Mapping[tuple[str, str, str], GroupMetrics]


def question(endpoint: Endpoint) -> str:
    """The question as text: `lvef < 40 %`."""
    name = " or ".join(endpoint.measurements)
    if endpoint.positive_words:
        return f"{name}: {' or '.join(endpoint.positive_words)}"
    sign = {"<=": "≤", ">=": "≥"}.get(endpoint.comparison, endpoint.comparison)
    return f"{name} {sign} {endpoint.threshold:g} {endpoint.unit}".rstrip()


def endpoint_tables(results: EvaluationResults) -> list[dict[str, Any]]:
    """For each question, in the recipe's order: its definition, counts, and rows of metrics."""
    groups = results.group_metrics()
    return [_endpoint(results, endpoint, groups) for endpoint in results.settings.endpoints]


def _endpoint(results: EvaluationResults, endpoint: Endpoint, groups: Groups) -> dict[str, Any]:
    attempts = results.rows(evaluation_details.ATTEMPTS, kind=evaluation_details.QUESTION, endpoint=endpoint.name)
    ran = {row["protocol"]: row["threshold_says"] for row in attempts if row["left_out"] is None}
    threshold = {row["protocol"]: row["threshold"] for row in results.rows(evaluation.RULES, endpoint=endpoint.name)}
    labelled = results.labelled(evaluation_details.QUESTION, endpoint.name)
    rows = [
        _metric_row(protocol, group, groups[endpoint.name, protocol, group])
        for protocol in ran
        for group in (wording.GROUP_NAMES if protocol in SHOWN_PROTOCOLS else (selective.ALL,))
        if groups[endpoint.name, protocol, group].records
    ]
    asked_for = results.settings.answer_by
    answering = asked_for if asked_for in ran else names.ZERO_SHOT
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
        "headline": [] if no_metric else _headline(groups, endpoint.name, answering, ran),
        "verdict": "" if no_metric else comparison_tables.verdict(results, endpoint.name, answering),
        "answered": "" if no_metric else _answered(groups, endpoint.name, answering),
        "results": [] if no_metric else [_result_row(groups, endpoint.name, protocol) for protocol in ran],
        "thresholds": [
            {
                "protocol": wording.protocol_name(protocol),
                "value": wording.probability_text(threshold[protocol]),
                "origin": origin,
            }
            for protocol, origin in ran.items()
        ],
        "splits": {side: labelled[side] for side in conventions.SPLITS},
        "left_out": _left_out(results, evaluation_details.QUESTION, endpoint),
    }


def _headline(groups: Groups, endpoint: str, answering: str, ran: Collection[str]) -> list[dict[str, Any]]:
    """Rows of the tile: the protocol that answers, the published one, the probe, and last the baseline."""
    shown = dict.fromkeys((answering, names.ZERO_SHOT, names.LINEAR_PROBE, names.ECG_MEASUREMENTS))
    rows = ((protocol, groups[endpoint, protocol, selective.ALL]) for protocol in shown if protocol in ran)
    return [
        _metric_row(protocol, selective.ALL, metrics) | {"is_baseline": protocol == names.ECG_MEASUREMENTS}
        for protocol, metrics in rows
        if metrics.records
    ]


def _answered(groups: Groups, endpoint: str, protocol: str) -> str:
    """Says how many test ECGs are answered and how many of these wrongly; empty where the protocol did not run."""
    whole, answered = (groups.get((endpoint, protocol, group)) for group in (selective.ALL, table_rows.ANSWERED_GROUP))
    if whole is None or whole.estimates.get(table_rows.ANSWERED_SHARE, NOTHING).value is None:
        return ""
    count, wrong = 0, 0
    if answered is not None and (error_rate := answered.estimates[classification.ERROR_RATE].value) is not None:
        count, wrong = answered.records, round(error_rate * answered.records)
    return f"Answers {count} of {whole.records} ECGs, {wrong} of them wrongly; refers the others to echo."


def _negatives(of_split: Mapping[str, int]) -> int:
    return of_split["records"] - of_split["positives"]


def _no_metric(test: Mapping[str, int], left_out: str) -> list[str]:
    """The reason why no metric can be given; empty if metrics can be given."""
    records, positives = test["records"], test["positives"]
    if records == 0:
        return [f"Not evaluated: no ECG of the test split has a label. {left_out}"]
    if positives in (0, records):
        all_are = "no" if positives == 0 else "only"
        return [
            f"No metric: {all_are} positive among the {records} labelled test ECGs, so there is nothing to distinguish."
        ]
    return []


def _obstacles(attempts: list[dict[str, Any]]) -> list[str]:
    """One line for each reason why protocols were left out."""
    reasons: dict[str, list[str]] = {}
    for row in attempts:
        if row["left_out"] is not None:
            reasons.setdefault(row["left_out"], []).append(wording.protocol_name(row["protocol"]))
    return [f"{' · '.join(names)} left out: {reason}." for reason, names in reasons.items()]


def _left_out(results: EvaluationResults, kind: str, endpoint: Endpoint | RegressionEndpoint) -> str:
    (counts,) = results.rows(evaluation_details.ASKED, kind=kind, endpoint=endpoint.name)
    name = "' or '".join(endpoint.measurements)
    further = {
        "other_words": "have a finding in words that the question does not list",
        "between": "have a range with the threshold inside",
        "sex_unknown": "lack the sex that the threshold depends on",
    }
    return (
        f"Of {counts['ecgs']} ECGs {counts['absent']} have no measurement '{name}', {counts['unit_mismatch']} have it "
        f"in a unit that is not converted to '{endpoint.unit}', {counts['impossible']} have an impossible value, "
        f"{counts['labelled']} are labelled."
        + "".join(f" {counts[column]} {text}." for column, text in further.items() if counts[column])
    )


def _range(endpoint: Endpoint | RegressionEndpoint) -> str:
    return f"{endpoint.valid_range[0]:g} to {endpoint.valid_range[1]:g} {endpoint.unit}".rstrip()


def _result_row(groups: Groups, endpoint: str, protocol: str) -> dict[str, Any]:
    """Balanced accuracy of all and of each half, in per cent as the paper gives it, and AUROC."""
    of_all = groups[endpoint, protocol, selective.ALL]
    halves = [
        groups[endpoint, protocol, group].estimates[classification.BALANCED_ACCURACY] for group in wording.GROUP_NAMES
    ]
    return {
        "protocol": wording.protocol_name(protocol),
        "cells": [wording.percent_text(estimate) for estimate in halves],
        "auroc": cell(of_all.estimates[classification.AUROC]),
    }


def _metric_row(protocol: str, group: str, metrics: GroupMetrics) -> dict[str, Any]:
    return {
        "protocol": wording.protocol_name(protocol),
        "group": wording.GROUP_NAMES[group],
        "whole": group == selective.ALL,
        "auroc": cell(metrics.estimates[classification.AUROC]),
        "auprc": cell(metrics.estimates[classification.AUPRC]),
        "balanced_accuracy": cell(metrics.estimates[classification.BALANCED_ACCURACY]),
        "records": metrics.records,
        "patients": metrics.patients,
        "positives": metrics.positives,
        "negatives": metrics.negatives,
        "few": min(metrics.positives, metrics.negatives) < FEW,
    }


def trust_tables_with_metrics(results: EvaluationResults, endpoints: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trust tables of the questions that have metrics, without rows that have no value."""
    with_metrics = {endpoint["name"] for endpoint in endpoints if endpoint["results"]}
    return [
        table | {"rows": [row for row in table["rows"] if any(cell["value"] != wording.NONE for cell in row["cells"])]}
        for table in trust_tables(results)
        if table["name"] in with_metrics
    ]


def strata_tables_with_metrics(results: EvaluationResults, endpoints: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Subgroup tables of the questions that have metrics; all but the `first` protocol are collapsed on the page."""
    with_metrics, seen = {endpoint["name"] for endpoint in endpoints if endpoint["results"]}, set[str]()
    tables = []
    for table in strata_tables(results):
        if table["name"] in with_metrics:
            tables.append(table | {"first": table["name"] not in seen})
            seen.add(table["name"])
    return tables


def few_shot_tables(results: EvaluationResults) -> Iterator[dict[str, Any]]:
    """AUROC by model and number of cases, for each question with few-shot results."""
    for endpoint in results.settings.endpoints:
        of_models: dict[str, dict[int, Cell]] = {}
        for row in results.rows(evaluation.FEW_SHOT, endpoint=endpoint.name, metric=classification.AUROC):
            estimate = bootstrap.Estimate(row["value"], row["low"], row["high"])
            of_models.setdefault(row["model"], {})[row["cases"]] = cell(estimate)
        cases = sorted({size for of_model in of_models.values() for size in of_model})
        if cases:
            rows = {wording.model_name(model): [cells[size] for size in cases] for model, cells in of_models.items()}
            yield {"name": endpoint.name, "cases": cases, "rows": rows}


_OF_INTERVALS = (
    (regression.COVERAGE, "Share of the echoes' values within their 90 % interval"),
    (regression.COVERAGE_LOW, "… of the half with the smaller deviations"),
    (regression.COVERAGE_HIGH, "… of the half with the larger deviations"),
    (regression.WIDTH, "Mean width of the intervals"),
    (regression.ANSWERED_SHARE, "Share of ECGs that are not referred"),
    (regression.ANSWERED_COVERAGE, "… of their values within the interval"),
    (regression.ANSWERED_MAE, "… MAE of these"),
)


def number_tables(results: EvaluationResults) -> Iterator[dict[str, Any]]:
    """For each number, in the recipe's order: MAE and correlation by protocol, and what its intervals hold."""
    for number in results.settings.regressions:
        of_protocols: dict[str, dict[str, Cell]] = {}
        for row in results.rows(evaluation.REGRESSION_METRICS, endpoint=number.name):
            metric_cell = cell(bootstrap.Estimate(row["value"], row["low"], row["high"]))
            of_protocols.setdefault(row["protocol"], {})[row["metric"]] = metric_cell
        missing = {"mae": cell(NOTHING), "pearson": cell(NOTHING)}
        yield {
            "name": number.name,
            "unit": number.unit,
            "source": number.source,
            "valid_range": _range(number),
            "records": results.labelled(evaluation_details.NUMBER, number.name)["test"]["records"],
            "intervals": [
                (label, of_protocols[names.EXPECTED_NUMBER][metric])
                for metric, label in _OF_INTERVALS
                if metric in of_protocols.get(names.EXPECTED_NUMBER, {})
            ],
            "rows": [
                {"protocol": wording.protocol_name(protocol), **missing, **metrics}
                for protocol, metrics in of_protocols.items()
            ],
            "obstacles": _obstacles(
                results.rows(evaluation_details.ATTEMPTS, kind=evaluation_details.NUMBER, endpoint=number.name)
            ),
            "left_out": _left_out(results, evaluation_details.NUMBER, number),
            "prompts": number.prompts,
        }
