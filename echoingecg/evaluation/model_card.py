"""The model card: what the student is for, what it was trained on, how it did, and its limits, as Markdown.

Sections in the order of Mitchell et al., Model Cards for Model Reporting, FAT* 2019, section 4.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from data_contracts.conventions import SPLITS
from echoingecg.evaluation.report.render import in_stage_order, refusals
from echoingecg.evaluation.report.results import EvaluationResults
from echoingecg.evaluation.report.tables import FEW, endpoint_tables, judged_strata, judged_trust, number_tables
from echoingecg.evaluation.trust_tables import STRATA_METRICS, shift_table
from echoingecg.recipe.stages import DEMO_TEACHER

TEMPLATE: Final = "model_card.md.j2"
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]|#~$])")
_HTML: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
# path in the recipe, what it is
_NUMBERS: Final = (
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
        loader=PackageLoader("echoingecg.evaluation", "."),
        autoescape=False,  # HTML's escapes are not Markdown's: `finalize` escapes instead
        finalize=markdown_text,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    provenance = results.provenance
    endpoints = endpoint_tables(results)
    strata = judged_strata(results, endpoints)
    page = environment.get_template(TEMPLATE).render(
        demo=provenance["teacher"] == DEMO_TEACHER,
        student=provenance["versions"]["student"],
        lineage=in_stage_order(provenance["versions"]),
        stages=in_stage_order(provenance["stages"]),
        numbers=list(_numbers(provenance["recipe"])),
        cohort=results.cohort,
        splits=SPLITS,
        settings=results.settings,
        few=FEW,
        endpoints=endpoints,
        regressions=list(number_tables(results)),
        trust=judged_trust(results, endpoints),
        strata=[one for one in strata if one["first"]],
        strata_metrics=STRATA_METRICS,
        shift=shift_table(results),
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
    for path, says in _NUMBERS:
        found: Any = recipe
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found is not None:
            yield path, says, ", ".join(map(str, found)) if isinstance(found, list) else found
