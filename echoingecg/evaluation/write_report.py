"""The one way to a report: the artefact's tables in, page, figures and model card out."""

from pathlib import Path

from data_contracts.evaluation import FIGURES, MODEL_CARD, REPORT
from echoingecg.evaluation.figure_set import draw_figures
from echoingecg.evaluation.model_card import render_model_card
from echoingecg.evaluation.provenance import Provenance
from echoingecg.evaluation.report.all_figures import strips
from echoingecg.evaluation.report.render import render_report
from echoingecg.evaluation.report.results import EvaluationResults
from echoingecg.recipe import EvaluationSettings


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
    drawn = strips(results)
    figures = draw_figures(results, drawn)
    (out / FIGURES).mkdir(exist_ok=True)
    for figure in figures:
        (out / FIGURES / figure.filename).write_bytes(figure.png)
    (out / REPORT).write_text(render_report(results, figures, drawn), encoding="utf-8")
    (out / MODEL_CARD).write_text(render_model_card(results), encoding="utf-8")
    return len(figures)
