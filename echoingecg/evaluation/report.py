"""The report: one HTML file that needs nothing beside it."""

import base64
from collections.abc import Iterable
from typing import Any, Final, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from data_contracts.conventions import SPLITS, STAGES
from data_contracts.quarantine import REASONS
from echoingecg.evaluation.figure_set import DrawnFigure
from echoingecg.evaluation.metrics import AUROC, BALANCED_ACCURACY, Estimate
from echoingecg.evaluation.protocols import DRAWN, EndpointResult
from echoingecg.evaluation.regression import RegressionMetric
from echoingecg.evaluation.regression_results import RegressionResult
from echoingecg.evaluation.results import EvaluationResults, GroupMetrics
from echoingecg.evaluation.uncertainty import ALL
from echoingecg.evaluation.words import (
    GROUP_NAMES,
    PAIR_NAMES,
    interval_text,
    model_name,
    probability_text,
    protocol_name,
    value_text,
)
from echoingecg.recipe import Endpoint, RegressionEndpoint
from echoingecg.recipe.sections import DEMO_TEACHER

TEMPLATE: Final = "report.html.j2"
Value = TypeVar("Value")
FEW: Final = 10  # fewer of either class, and a number is marked


def render_report(results: EvaluationResults, figures: Iterable[DrawnFigure]) -> str:
    """HTML with inline style and figures; no script, no link, everything from outside escaped."""
    environment = Environment(
        loader=PackageLoader("echoingecg.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    provenance = results.provenance
    groups = results.group_metrics()
    return environment.get_template(TEMPLATE).render(
        demo=provenance["teacher"] == DEMO_TEACHER,
        teacher=provenance["teacher"],
        ecgs=results.ecgs,
        patients=results.patients,
        splits=SPLITS,
        draws=results.bootstrap_draws,
        few=FEW,
        figures=_by_topic(figures),
        endpoints=[_endpoint(result, groups) for result in results.endpoints],
        few_shot=[table for result in results.endpoints if (table := _few_shot(result))],
        few_shot_draws=results.few_shot_draws,
        regressions=[_regression(result) for result in results.regressions],
        filters=_filters(results),
        quarantine=_quarantine(provenance["quarantine"]),
        lineage=_in_stage_order(provenance["versions"]),
        recipe=provenance["recipe"],
        ecg_findings=provenance["ecg_findings"],
        ecg_page=_data_url(provenance["ecg_page"]) if provenance["ecg_page"] else "",
    )


def question(endpoint: Endpoint) -> str:
    """`lvef < 40 %`"""
    sign = {"<=": "≤", ">=": "≥"}.get(endpoint.comparison, endpoint.comparison)
    return f"{endpoint.measurement} {sign} {endpoint.threshold:g} {endpoint.unit}".rstrip()


def obstacles(result: EndpointResult) -> list[str]:
    """What could not be evaluated, and why; empty when all could."""
    label = result.label[result.test]
    positives, records = int(label.sum()), len(label)
    found: list[str] = []
    if records == 0:
        found.append(f"Not evaluated: no ECG of the test split has a label. {_left_out(result)}")
    elif positives in (0, records):
        all_are = "no" if positives == 0 else "only"
        found.append(f"No metric: {all_are} positive among the {records} labelled test ECGs, so nothing to tell apart.")
    return found + _skipped(result.skipped)


def _skipped(reasons: dict[str, str]) -> list[str]:
    return [f"{protocol_name(name)} left out: {reason}." for name, reason in reasons.items()]


def _left_out(result: EndpointResult | RegressionResult) -> str:
    studies, endpoint = result.studies, result.endpoint
    return (
        f"Of {len(studies.value)} paired studies {studies.absent} have no measurement '{endpoint.measurement}', "
        f"{studies.unit_mismatch} have it in another unit than '{endpoint.unit}', {studies.impossible} hold an "
        f"impossible value, {studies.known.sum()} are labelled."
    )


def _by_topic(figures: Iterable[DrawnFigure]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for figure in figures:
        found.setdefault(figure.topic, []).append({"says": figure.says, "data": _data_url(figure.png)})
    return found


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _endpoint(result: EndpointResult, groups: dict[tuple[str, str, str], GroupMetrics]) -> dict[str, Any]:
    endpoint, name = result.endpoint, result.endpoint.name
    rows = [
        _metric_row(of.protocol, group, groups[name, of.protocol, group])
        for of in result.protocols
        for group in (GROUP_NAMES if of in result.drawn else (ALL,))
        if groups[name, of.protocol, group].records
    ]
    return {
        "name": name,
        "question": question(endpoint),
        "valid_range": _range(endpoint),
        "source": endpoint.source,
        "prompts": {"Label 1": endpoint.positive_prompts, "Label 0": endpoint.negative_prompts},
        "obstacles": obstacles(result),
        "rows": rows,
        "headline": [row for row in rows if row["whole"] and row["drawn"]],
        "thresholds": [
            {
                "protocol": protocol_name(of.protocol),
                "value": probability_text(of.threshold.value),
                "says": of.threshold.says,
            }
            for of in result.protocols
        ],
        "splits": {side: _class_counts(result, side) for side in SPLITS},
        "left_out": _left_out(result),
    }


def _few_shot(result: EndpointResult) -> dict[str, Any] | None:
    """AUROC by model and number of cases; None where nothing was drawn."""
    of_models = {
        model: {one.cases: Estimate(one.value, one.low, one.high) for one in found if one.metric == AUROC}
        for model, found in result.few_shot.items()
    }
    cases = sorted({size for of_model in of_models.values() for size in of_model})
    if not cases:
        return None
    rows = {model_name(model): [_estimate(found[size]) for size in cases] for model, found in of_models.items()}
    return {"name": result.endpoint.name, "cases": cases, "rows": rows}


def _regression(result: RegressionResult) -> dict[str, Any]:
    endpoint = result.endpoint
    rows = [
        {"protocol": protocol_name(protocol)} | {one.metric: _estimate(one) for one in found}
        for protocol, found in result.metrics.items()
    ]
    return {
        "name": endpoint.name,
        "unit": endpoint.unit,
        "source": endpoint.source,
        "valid_range": _range(endpoint),
        "records": int((result.split == "test").sum()),
        "rows": rows,
        "obstacles": _skipped(result.skipped),
        "left_out": _left_out(result),
        "prompts": endpoint.prompts,
    }


def _range(endpoint: Endpoint | RegressionEndpoint) -> str:
    return f"{endpoint.valid_range[0]:g} to {endpoint.valid_range[1]:g} {endpoint.unit}".rstrip()


def _metric_row(protocol: str, group: str, found: GroupMetrics) -> dict[str, Any]:
    return {
        "protocol": protocol_name(protocol),
        "drawn": protocol in DRAWN,
        "group": GROUP_NAMES[group],
        "whole": group == ALL,
        "auroc": _estimate(found.estimates[AUROC]),
        "balanced_accuracy": _estimate(found.estimates[BALANCED_ACCURACY]),
        "records": found.records,
        "patients": found.patients,
        "positives": found.positives,
        "negatives": found.negatives,
        "few": min(found.positives, found.negatives) < FEW,
    }


def _estimate(found: Estimate | RegressionMetric) -> dict[str, str]:
    return {"value": value_text(found), "interval": interval_text(found)}


def _class_counts(result: EndpointResult, side: str) -> dict[str, int]:
    label = result.label[result.split == side]
    return {"records": len(label), "positives": int(label.sum())}


def _filters(results: EvaluationResults) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in results.filters.to_pylist():
        found.setdefault(PAIR_NAMES.get(row["pair"], row["pair"]), []).append(row)
    return found


def _quarantine(counts: dict[str, dict[str, int]]) -> dict[str, list[dict[str, Any]]]:
    """Most frequent reason first."""
    return {
        stage: [
            {"reason": reason, "says": REASONS.get(reason, ""), "count": count}
            for reason, count in sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
        ]
        for stage, reasons in _in_stage_order(counts).items()
    }


def _in_stage_order(of_stages: dict[str, Value]) -> dict[str, Value]:
    known = [stage for stage in STAGES if stage in of_stages]
    return {stage: of_stages[stage] for stage in [*known, *sorted(set(of_stages) - set(known))]}
