"""The report: one HTML file that needs nothing beside it.

The model card: what the student is for, what it was trained on, how it did, and its limits, as Markdown.

Sections in the order of Mitchell et al., Model Cards for Model Reporting, FAT* 2019, section 4.

The one way to a report: the artefact's tables in, page, figures and model card out.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from data_contracts import conventions, evaluation, quarantine
from echoingecg.evaluation.data.inputs import Provenance
from echoingecg.evaluation.report import run_figures, tables
from echoingecg.evaluation.report.all_figures import (
    EXAMPLE_ECGS,
    DrawnFigure,
    ExampleEcg,
    draw_example_ecgs,
    draw_figures,
)
from echoingecg.evaluation.report.results import EvaluationResults
from echoingecg.recipe import EvaluationSettings
from echoingecg.recipe.stages import DEMO_TEACHER

TEMPLATE = "report.html.j2"
Value = TypeVar("Value")


def render_report(results: EvaluationResults, figures: Iterable[DrawnFigure], strips: Sequence[ExampleEcg]) -> str:
    """HTML with inline style and figures; no script, no link, everything from outside escaped."""
    environment = Environment(
        loader=PackageLoader("echoingecg.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    provenance, settings = results.provenance, results.settings
    endpoints = tables.endpoint_tables(results)
    by_topic = _by_topic(figures)
    return environment.get_template(TEMPLATE).render(
        demo=provenance["teacher"] == DEMO_TEACHER,
        teacher=provenance["teacher"],
        cohort=results.cohort,
        splits=conventions.SPLITS,
        draws=settings.bootstrap_draws,
        few=tables.FEW,
        figures=by_topic,
        strips=[
            {"of": example, "figure": figure}
            for example, figure in zip(strips, by_topic.get(EXAMPLE_ECGS, []), strict=True)
        ],
        trust=tables.trust_tables_with_metrics(results, endpoints),
        settings=settings,
        strata=tables.strata_tables_with_metrics(results, endpoints),
        strata_metrics=tables.STRATA_METRICS,
        shift=tables.shift_table(results),
        endpoints=endpoints,
        few_shot=list(tables.few_shot_tables(results)),
        few_shot_draws=settings.few_shot.draws,
        regressions=list(tables.number_tables(results)),
        lanes=run_figures.attrition_series(results),
        quarantine=refusals(provenance["quarantine"]),
        lineage=in_stage_order(provenance["versions"]),
        stages=provenance["stages"],
        recipe=yaml.safe_dump(provenance["recipe"], sort_keys=False, allow_unicode=True),
        ecg_findings=provenance["ecg_findings"],
        **{name: _data_url(png) if png else "" for name, png in _pictures(results).items()},
    )


def _pictures(results: EvaluationResults) -> dict[str, bytes | None]:
    provenance = results.provenance
    return {
        "ecg_page": provenance["ecg_page"],
        "echo_sheet": provenance["echo_sheet"],
        "echo_map": provenance["echo_map"],
    }


def _by_topic(figures: Iterable[DrawnFigure]) -> dict[str, list[dict[str, str]]]:
    by_topic: dict[str, list[dict[str, str]]] = {}
    for figure in figures:
        by_topic.setdefault(figure.topic, []).append({"says": figure.says, "data": _data_url(figure.png)})
    return by_topic


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def refusals(counts: Mapping[str, Mapping[str, int]]) -> dict[str, list[dict[str, Any]]]:
    """By stage, the most frequent reason first."""
    return {
        stage: [
            {"reason": reason, "says": quarantine.REASONS.get(reason, ""), "count": count}
            for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        ]
        for stage, reasons in in_stage_order(counts).items()
    }


def in_stage_order(of_stages: Mapping[str, Value]) -> dict[str, Value]:
    """The six stages first, in their order."""
    known = [stage for stage in conventions.STAGES if stage in of_stages]
    return {stage: of_stages[stage] for stage in [*known, *sorted(set(of_stages) - set(known))]}


CARD_TEMPLATE = "model_card.md.j2"
_SPECIAL = re.compile(r"([\\`*_{}\[\]|#~$])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# path in the recipe, what it is
_NUMBERS = (
    ("teacher.model", "teacher"),
    ("ecg.band_low", "ECG filter from, Hz"),
    ("ecg.band_high", "ECG filter to, Hz"),
    ("pairs.window_hours", "ECG and echo at most apart, h"),
    ("student.model.embed_dim", "embedding width"),
    ("student.model.init_dim", "ECG encoder, first width"),
    ("student.model.blocks", "ECG encoder, blocks a stage"),
    ("student.model.text", "text tower"),
    ("student.epochs", "epochs at most"),
    ("student.batch_size", "batch size"),
    ("student.learning_rate", "learning rate"),
    ("student.precision", "precision"),
    ("evaluation.miscoverage", "conformal miscoverage"),
    ("evaluation.specificity", "specificity that sensitivity is told at"),
    ("evaluation.bootstrap_draws", "bootstrap draws of patients"),
)


def render_model_card(results: EvaluationResults) -> str:
    """Markdown of the whole card; every word from outside is escaped, so that none turns into markup or HTML."""
    environment = Environment(
        loader=PackageLoader("echoingecg.evaluation.report"),
        autoescape=False,  # HTML's escapes are not Markdown's: `finalize` escapes instead
        finalize=markdown_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    provenance = results.provenance
    endpoints = tables.endpoint_tables(results)
    strata = tables.strata_tables_with_metrics(results, endpoints)
    page = environment.get_template(CARD_TEMPLATE).render(
        demo=provenance["teacher"] == DEMO_TEACHER,
        student=provenance["versions"]["student"],
        lineage=in_stage_order(provenance["versions"]),
        stages=in_stage_order(provenance["stages"]),
        numbers=list(_numbers(provenance["recipe"])),
        cohort=results.cohort,
        splits=conventions.SPLITS,
        settings=results.settings,
        few=tables.FEW,
        endpoints=endpoints,
        regressions=list(tables.number_tables(results)),
        trust=tables.trust_tables_with_metrics(results, endpoints),
        strata=[table for table in strata if table["first"]],
        strata_metrics=tables.STRATA_METRICS,
        shift=tables.shift_table(results),
        quarantine=refusals(provenance["quarantine"]),
        findings=provenance["ecg_findings"],
    )
    return re.sub(r"\n{3,}", "\n\n", page)


def markdown_text(value: Any) -> str:
    """The value as text on one line that Markdown shows as it is."""
    text = " ".join(str(value).split())
    text = "".join(_HTML.get(letter, letter) for letter in text)
    return _SPECIAL.sub(r"\\\1", text)


def _numbers(recipe: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, Any]]:
    """Path, meaning and value of the recipe's main numbers, those that it holds."""
    for path, meaning in _NUMBERS:
        value: Any = recipe
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            yield path, meaning, ", ".join(map(str, value)) if isinstance(value, list) else value


def write_report(folder: Path, settings: EvaluationSettings, provenance: Provenance, out: Path) -> int:
    """Writes report.html, model_card.md and figures/*.png: the same tables and provenance give the same bytes.

    Nothing but the tables tells of a measure, so that the page can be made again, whenever.

    Args:
        folder: holds the tables of data_contracts.evaluation.
        settings: of the evaluation that wrote them.
        provenance: of the artefacts that it was made of.
        out: exists; receives the files.

    Returns:
        figures drawn.

    Raises:
        ContractError: a table is absent or breaks its contract.
    """
    results = EvaluationResults.read(folder, settings, provenance)
    drawn = draw_example_ecgs(results)
    figures = draw_figures(results, drawn)
    (out / evaluation.FIGURES).mkdir(exist_ok=True)
    for figure in figures:
        (out / evaluation.FIGURES / figure.filename).write_bytes(figure.png)
    (out / evaluation.REPORT).write_text(render_report(results, figures, drawn), encoding="utf-8")
    (out / evaluation.MODEL_CARD).write_text(render_model_card(results), encoding="utf-8")
    return len(figures)
