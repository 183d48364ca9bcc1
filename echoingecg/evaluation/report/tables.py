"""The report's tables of questions and numbers, as text, from the artefact's tables."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from data_contracts.conventions import SPLITS
from data_contracts.evaluation import FEW_SHOT, REGRESSION_METRICS, RULES
from data_contracts.evaluation_details import ASKED, ATTEMPTS, NUMBER, QUESTION
from echoingecg.evaluation.metrics.bootstrap import Estimate
from echoingecg.evaluation.metrics.classification import AUPRC, AUROC, BALANCED_ACCURACY
from echoingecg.evaluation.protocols.classification import DRAWN
from echoingecg.evaluation.report.results import EvaluationResults, GroupMetrics
from echoingecg.evaluation.trust_tables import NOTHING, Cell, cell, strata_tables, trust_tables
from echoingecg.evaluation.uncertainty import ALL
from echoingecg.evaluation.words import (
    GROUP_NAMES,
    NONE,
    model_name,
    percent_text,
    probability_text,
    protocol_name,
)
from echoingecg.recipe import Endpoint, RegressionEndpoint

FEW: Final = 10  # fewer of either class, and a number is marked
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
    attempts = results.rows(ATTEMPTS, kind=QUESTION, endpoint=endpoint.name)
    ran = {row["protocol"]: row["threshold_says"] for row in attempts if row["left_out"] is None}
    threshold = {row["protocol"]: row["threshold"] for row in results.rows(RULES, endpoint=endpoint.name)}
    labelled = results.labelled(QUESTION, endpoint.name)
    rows = [
        _metric_row(protocol, group, groups[endpoint.name, protocol, group])
        for protocol in ran
        for group in (GROUP_NAMES if protocol in DRAWN else (ALL,))
        if groups[endpoint.name, protocol, group].records
    ]
    no_metric = _no_metric(labelled["test"], _left_out(results, QUESTION, endpoint))
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
        "splits": {side: labelled[side] for side in SPLITS},
        "left_out": _left_out(results, QUESTION, endpoint),
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
    (found,) = results.rows(ASKED, kind=kind, endpoint=endpoint.name)
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
    of_all = groups[endpoint, protocol, ALL]
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
        "whole": group == ALL,
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
        for row in results.rows(FEW_SHOT, endpoint=endpoint.name, metric=AUROC):
            found = Estimate(row["value"], row["low"], row["high"])
            of_models.setdefault(row["model"], {})[row["cases"]] = cell(found)
        cases = sorted({size for of_model in of_models.values() for size in of_model})
        if cases:
            rows = {model_name(model): [found[size] for size in cases] for model, found in of_models.items()}
            yield {"name": endpoint.name, "cases": cases, "rows": rows}


def number_tables(results: EvaluationResults) -> Iterator[dict[str, Any]]:
    """A number each, in the recipe's order: MAE and correlation by protocol."""
    for number in results.settings.regressions:
        of_protocols: dict[str, dict[str, Cell]] = {}
        for row in results.rows(REGRESSION_METRICS, endpoint=number.name):
            found = cell(Estimate(row["value"], row["low"], row["high"]))
            of_protocols.setdefault(row["protocol"], {})[row["metric"]] = found
        missing = {"mae": cell(NOTHING), "pearson": cell(NOTHING)}
        yield {
            "name": number.name,
            "unit": number.unit,
            "source": number.source,
            "valid_range": _range(number),
            "records": results.labelled(NUMBER, number.name)["test"]["records"],
            "rows": [{"protocol": protocol_name(one), **missing, **found} for one, found in of_protocols.items()],
            "obstacles": _obstacles(results.rows(ATTEMPTS, kind=NUMBER, endpoint=number.name)),
            "left_out": _left_out(results, NUMBER, number),
            "prompts": number.prompts,
        }
