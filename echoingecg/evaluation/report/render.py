"""Writes report, figures and model card from the artefact's tables alone.

The report is one HTML file that needs no other file. The model card is Markdown, in the sections and the order of
Mitchell et al., Model Cards for Model Reporting, FAT* 2019, section 4.
"""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from data_contracts import conventions, evaluation, evaluation_details, quarantine
from echoingecg.common import figure_style
from echoingecg.evaluation.data.inputs import Provenance
from echoingecg.evaluation.metrics import bootstrap
from echoingecg.evaluation.protocols import retrieval
from echoingecg.evaluation.report import comparison_tables, endpoint_figures, example_ecgs, run_figures, tables, wording
from echoingecg.evaluation.report.results import EndpointScores, EvaluationResults
from echoingecg.recipe import EvaluationSettings

EXAMPLE_ECGS = "strips"  # topic of the report, and start of the file names
Drawing = tuple[str, str, str, Figure]  # topic, end of the file name, alt text, drawing


@dataclass(frozen=True)
class DrawnFigure:
    """A finished figure.

    Attributes:
        topic: section of the report it belongs to.
        filename: name of the PNG file.
        alt_text: what is seen, for readers who cannot see it.
        png: the file's bytes.
    """

    topic: str
    filename: str
    alt_text: str
    png: bytes


TEMPLATE = "report.html.j2"
Value = TypeVar("Value")


def write_report(folder: Path, settings: EvaluationSettings, provenance: Provenance, out: Path) -> int:
    """Writes report.html, model_card.md and figures/*.png: the same tables and provenance give the same bytes.

    All measures come from the tables, so the page can be made again at any time.

    Args:
        folder: holds the tables of data_contracts.evaluation.
        settings: of the evaluation that wrote them.
        provenance: of the artefacts behind it.
        out: exists; receives the files.

    Returns:
        The number of figures drawn.

    Raises:
        ContractError: a table is absent or breaks its contract.
    """
    results = EvaluationResults.read(folder, settings, provenance)
    examples = example_ecgs.draw_example_ecgs(results)
    figures = draw_figures(results, examples)
    (out / evaluation.FIGURES).mkdir(exist_ok=True)
    for figure in figures:
        (out / evaluation.FIGURES / figure.filename).write_bytes(figure.png)
    endpoints = tables.endpoint_tables(results)  # with a bootstrap of each question
    (out / evaluation.REPORT).write_text(render_report(results, endpoints, figures, examples), encoding="utf-8")
    (out / evaluation.MODEL_CARD).write_text(render_model_card(results, endpoints), encoding="utf-8")
    return len(figures)


def _origins(provenance: Provenance) -> dict[str, Any]:
    """Whose data it was, for both templates: in words, and whether ECGs of simulated patients are among them."""
    data = provenance["data"]
    return {
        "simulated": any("simulated" in data[name] for name in ("trained_on", "judged_on")),
        "origins": {
            "student": conventions.origin_in_words(data["trained_on"]),
            "teacher": conventions.origin_in_words(data["teacher_trained_on"]),
            "judged": conventions.origin_in_words(data["judged_on"]),
        },
    }


def render_report(
    results: EvaluationResults,
    endpoints: list[dict[str, Any]],
    figures: Iterable[DrawnFigure],
    examples: Sequence[example_ecgs.ExampleEcg],
) -> str:
    """Report as HTML with inline style and figures; no script, no external link, text from outside escaped."""
    environment = _html_environment()
    provenance, settings = results.provenance, results.settings
    by_topic = _by_topic(figures)
    return environment.get_template(TEMPLATE).render(
        **_origins(provenance),
        teacher=provenance["teacher"],
        notes=provenance["notes"],
        cohort=results.cohort,
        splits=conventions.SPLITS,
        draws=settings.bootstrap_draws,
        few=tables.FEW,
        figures=by_topic,
        examples=[
            {"example": example, "figure": figure}
            for example, figure in zip(examples, by_topic.get(EXAMPLE_ECGS, []), strict=True)
        ],
        trust=tables.trust_tables_with_metrics(results, endpoints),
        settings=settings,
        strata=tables.strata_tables_with_metrics(results, endpoints),
        strata_metrics=tables.STRATA_METRICS,
        shift=comparison_tables.shift_table(results),
        stress=tables.stress_tables(results),
        transfer=comparison_tables.transfer_tables(results),
        teacher_check=comparison_tables.teacher_table(results),
        sites=comparison_tables.site_tables(results),
        lead_sets=comparison_tables.lead_set_tables(results),
        endpoints=endpoints,
        few_shot=list(tables.few_shot_tables(results)),
        few_shot_draws=settings.few_shot.draws,
        regressions=list(tables.number_tables(results)),
        attrition=run_figures.attrition_series(results),
        quarantine=refusals(provenance["quarantine"]),
        lineage=in_stage_order(provenance["versions"]),
        stages=provenance["stages"],
        public=bool(provenance["recipe"].get("catalog", {}).get("public_key")),
        recipe=yaml.safe_dump(provenance["recipe"], sort_keys=False, allow_unicode=True),
        ecg_findings=provenance["ecg_findings"],
        **{name: _data_url(png) if png else "" for name, png in _pictures(results).items()},
    )


def _html_environment() -> Environment:
    return Environment(
        loader=PackageLoader("echoingecg.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _markdown_environment() -> Environment:
    return Environment(
        loader=PackageLoader("echoingecg.evaluation.report"),
        autoescape=False,  # HTML's escapes are not Markdown's: `finalize` escapes instead
        finalize=markdown_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
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
        by_topic.setdefault(figure.topic, []).append({"alt_text": figure.alt_text, "data": _data_url(figure.png)})
    return by_topic


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def refusals(counts: Mapping[str, Mapping[str, int]]) -> dict[str, list[dict[str, Any]]]:
    """Refused records by stage, with the most frequent reason first."""
    return {
        stage: [
            {"reason": reason, "meaning": quarantine.REASONS.get(reason, ""), "count": count}
            for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        ]
        for stage, reasons in in_stage_order(counts).items()
    }


def in_stage_order(of_stages: Mapping[str, Value]) -> dict[str, Value]:
    """Sorts a mapping by stage: the six stages first, in their order."""
    known = [stage for stage in conventions.STAGES if stage in of_stages]
    return {stage: of_stages[stage] for stage in [*known, *sorted(set(of_stages) - set(known))]}


def render_comparison(
    rows: Sequence[Mapping[str, Any]],
    students: Mapping[str, Mapping[str, str]],
    protocol: str,
    figure: str = "",
    as_markdown: bool = False,
) -> str:
    """Several students compared, as one HTML page or as Markdown: tables and a figure.

    Args:
        rows: of echoingecg.evaluation.compare.compare_any.
        students: by the name in the rows: student, evaluation, trained_on (a data origin).
        protocol: of the compared predictions.
        figure: address of the drawing, such as a file beside the page; empty to put it into the page.
        as_markdown: Markdown instead of HTML.
    """
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    endpoints = {
        endpoint: {
            "counts": next(row for row in rows if row["endpoint"] == endpoint),
            "students": {
                name: [_compared_cell(row) for row in rows if (row["endpoint"], row["student"]) == (endpoint, name)]
                for name in students
            },
        }
        for endpoint in dict.fromkeys(row["endpoint"] for row in rows)
    }
    environment = _markdown_environment() if as_markdown else _html_environment()
    page = environment.get_template(f"comparison.{'md' if as_markdown else 'html'}.j2").render(
        endpoints=endpoints,
        metrics=[wording.METRIC_NAMES[metric] for metric in metrics],
        students={
            name: {**about, "origin": conventions.origin_in_words(about["trained_on"])}
            for name, about in students.items()
        },
        first=next(iter(students)),
        protocol=wording.protocol_name(protocol),
        simulated=any("simulated" in about["trained_on"] for about in students.values()),
        figure=figure or Markup(_data_url(draw_comparison(rows))),
    )
    return re.sub(r"\n{3,}", "\n\n", page)


def draw_comparison(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The figure of `render_comparison` as PNG."""
    with figure_style.styled():
        return figure_style.png(endpoint_figures.students_compared(rows, "auroc"))


def _compared_cell(row: Mapping[str, Any]) -> dict[str, str]:
    """A metric and its difference from the first student as text; empty where there is none."""
    value, gain = (
        bootstrap.Estimate(row[name], row[low], row[high])
        for name, low, high in (("value", "low", "high"), ("difference", "difference_low", "difference_high"))
    )
    difference = "" if gain.value is None else f"{gain.value:+.2f} ({wording.interval_text(gain) or 'no interval'})"
    return {"value": wording.value_text(value), "interval": wording.interval_text(value), "difference": difference}


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
    ("evaluation.specificity", "specificity that at which sensitivity is given"),
    ("evaluation.bootstrap_draws", "bootstrap draws of patients"),
)


def render_model_card(results: EvaluationResults, endpoints: list[dict[str, Any]]) -> str:
    """Model card as Markdown; text from outside is escaped, so that it cannot become markup or HTML."""
    environment = _markdown_environment()
    provenance = results.provenance
    strata = tables.strata_tables_with_metrics(results, endpoints)
    page = environment.get_template(CARD_TEMPLATE).render(
        **_origins(provenance),
        student=provenance["versions"]["student"],
        notes=provenance["notes"],
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
        shift=comparison_tables.shift_table(results),
        quarantine=refusals(provenance["quarantine"]),
        findings=provenance["ecg_findings"],
    )
    return re.sub(r"\n{3,}", "\n\n", page)


def markdown_text(value: Any) -> str:
    """Escapes a value to one line of text that Markdown shows unchanged; what is marked as markup stays."""
    if isinstance(value, Markup):
        return str(value)
    text = " ".join(str(value).split())
    text = "".join(_HTML.get(letter, letter) for letter in text)
    return _SPECIAL.sub(r"\\\1", text)


def _numbers(recipe: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, Any]]:
    """Path, meaning and value of the recipe's main numbers; a number that it lacks is left out."""
    for path, meaning in _NUMBERS:
        value: Any = recipe
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            yield path, meaning, ", ".join(map(str, value)) if isinstance(value, list) else value


def draw_figures(results: EvaluationResults, examples: Sequence[example_ecgs.ExampleEcg]) -> list[DrawnFigure]:
    """Draws all figures that the results allow, in the order of the report; the example ECGs last."""
    with figure_style.styled():
        figures = [
            DrawnFigure(topic, f"{topic}{suffix}.png", alt_text, figure_style.png(figure))
            for topic, suffix, alt_text, figure in [*_endpoint_figures(results), *_run_figures(results)]
        ]
    for number, example in enumerate(examples, start=1):
        figures.append(
            DrawnFigure(
                EXAMPLE_ECGS,
                f"{EXAMPLE_ECGS}-{number}.png",
                f"{example.title} test ECG, 12 leads: {example.record_id}",
                example.png,
            )
        )
    return figures


def _endpoint_figures(results: EvaluationResults) -> Iterator[Drawing]:
    """Figures of the endpoints that have test ECGs of both classes."""
    places = {endpoint.name: number for number, endpoint in enumerate(results.settings.endpoints, start=1)}
    groups = results.group_metrics()
    bins, points = results.tables[evaluation.RELIABILITY.name], results.tables[evaluation.RISK_COVERAGE.name]
    for scores in results.endpoint_scores:
        if not scores.has_both_classes:
            continue
        name, draw = scores.endpoint, endpoint_figures
        # The number separates names that differ only in signs that a file name should not hold.
        suffix = f"-{places[name]}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')[:40]}".rstrip("-")
        yield "roc", suffix, f"ROC curves for {name}", draw.roc(scores, groups)
        yield "halves", suffix, f"Balanced accuracy by certainty for {name}", draw.uncertainty_halves(scores, groups)
        yield "scores", suffix, f"Distribution of scores for {name}", draw.score_distribution(scores)
        yield "errors", suffix, f"Error rate by predicted variance for {name}", draw.error_against_variance(scores)
        yield "risk", suffix, f"Error rate among the ECGs kept for {name}", draw.risk_coverage(name, points)
        yield "reliability", suffix, f"Predicted against true share for {name}", draw.reliability(name, bins)


def _run_figures(results: EvaluationResults) -> Iterator[Drawing]:
    if results.cohort["test"]["ecgs"]:
        histogram = run_figures.uncertainty_histogram(results.tables[evaluation_details.UNCERTAINTY.name])
        yield "uncertainty", "", "Histogram of the uncertainty of every ECG", histogram
    for endpoint, rows in islice(tables.stress_rows(results).items(), 1):  # a figure each would make the page heavy
        yield "stress", "-1", f"Answers to disturbed ECGs for {endpoint}", run_figures.stress(endpoint, rows)
    if rows := results.rows(evaluation_details.EMBEDDING_MAP):
        first_endpoint: EndpointScores | None = next(iter(results.endpoint_scores), None)
        yield "map", "", "Test ECGs and echo studies on a plane", run_figures.embedding_map(rows, first_endpoint)
    if rows := results.rows(evaluation_details.RETRIEVAL, direction=retrieval.ECG_TO_ECHO):
        yield "retrieval", "", "Recall from ECG to echo study against chance", run_figures.retrieval_recall(rows)
    if (history := results.provenance["history"]).num_rows:
        yield "training", "", "Training history of the student", run_figures.training_history(history)
    series = run_figures.attrition_series(results)
    of_files = [one_series for one_series in series if one_series.name in (run_figures.ECGS, run_figures.ECHOES)]
    of_pairs = [one_series for one_series in series if one_series not in of_files]
    if of_files:
        yield "flow", "", "What is left from the export to the answers", run_figures.attrition_chart(of_files)
    if of_pairs:
        yield "flow", "-pairs", "Rows left after each filter of the pairs", run_figures.attrition_chart(of_pairs)
