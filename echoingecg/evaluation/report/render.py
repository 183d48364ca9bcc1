"""The report: one HTML file that needs nothing beside it."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from data_contracts.conventions import SPLITS, STAGES
from data_contracts.quarantine import REASONS
from echoingecg.evaluation.figure_set import STRIPS, DrawnFigure
from echoingecg.evaluation.flow import lanes
from echoingecg.evaluation.report.all_figures import Strip
from echoingecg.evaluation.report.results import EvaluationResults
from echoingecg.evaluation.report.tables import (
    FEW,
    endpoint_tables,
    few_shot_tables,
    judged_strata,
    judged_trust,
    number_tables,
)
from echoingecg.evaluation.trust_tables import STRATA_METRICS, shift_table
from echoingecg.recipe.stages import DEMO_TEACHER

TEMPLATE: Final = "report.html.j2"
Value = TypeVar("Value")


def render_report(results: EvaluationResults, figures: Iterable[DrawnFigure], strips: Sequence[Strip]) -> str:
    """HTML with inline style and figures; no script, no link, everything from outside escaped."""
    environment = Environment(
        loader=PackageLoader("echoingecg.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    provenance, settings = results.provenance, results.settings
    endpoints = endpoint_tables(results)
    by_topic = _by_topic(figures)
    return environment.get_template(TEMPLATE).render(
        demo=provenance["teacher"] == DEMO_TEACHER,
        teacher=provenance["teacher"],
        cohort=results.cohort,
        splits=SPLITS,
        draws=settings.bootstrap_draws,
        few=FEW,
        figures=by_topic,
        strips=[{"of": one, "figure": seen} for one, seen in zip(strips, by_topic.get(STRIPS, []), strict=True)],
        trust=judged_trust(results, endpoints),
        settings=settings,
        strata=judged_strata(results, endpoints),
        strata_metrics=STRATA_METRICS,
        shift=shift_table(results),
        endpoints=endpoints,
        few_shot=list(few_shot_tables(results)),
        few_shot_draws=settings.few_shot.draws,
        regressions=list(number_tables(results)),
        lanes=lanes(results),
        quarantine=refusals(provenance["quarantine"]),
        lineage=in_stage_order(provenance["versions"]),
        stages=provenance["stages"],
        recipe=yaml.safe_dump(provenance["recipe"], sort_keys=False, allow_unicode=True),
        ecg_findings=provenance["ecg_findings"],
        **{name: _data_url(png) if png else "" for name, png in _pictures(results).items()},
    )


def _pictures(results: EvaluationResults) -> dict[str, bytes | None]:
    found = results.provenance
    return {"ecg_page": found["ecg_page"], "echo_sheet": found["echo_sheet"], "echo_map": found["echo_map"]}


def _by_topic(figures: Iterable[DrawnFigure]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for figure in figures:
        found.setdefault(figure.topic, []).append({"says": figure.says, "data": _data_url(figure.png)})
    return found


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def refusals(counts: Mapping[str, Mapping[str, int]]) -> dict[str, list[dict[str, Any]]]:
    """By stage, the most frequent reason first."""
    return {
        stage: [
            {"reason": reason, "says": REASONS.get(reason, ""), "count": count}
            for reason, count in sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
        ]
        for stage, reasons in in_stage_order(counts).items()
    }


def in_stage_order(of_stages: Mapping[str, Value]) -> dict[str, Value]:
    """The six stages first, in their order."""
    known = [stage for stage in STAGES if stage in of_stages]
    return {stage: of_stages[stage] for stage in [*known, *sorted(set(of_stages) - set(known))]}
