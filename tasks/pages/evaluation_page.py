"""What a report tells of the artefacts behind an evaluation, read from these artefacts and their manifests alone.

The report of a published evaluation, made again from artefacts alone.

A look at an evaluation in Prefect: its figures, small. The report holds them in full.
"""

import base64
import io
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_markdown_artifact

from data_contracts import conventions, evaluation, pairs, quarantine, student
from echoingecg.common import StoreError
from echoingecg.recipe import EvaluationSettings
from tasks.base.workspace import Workspace, writing_to
from tasks.pages import ecg_page, teacher_page
from tasks.store.artefact import Artefact, Inputs
from tasks.store.artefacts import ArtefactStore

if TYPE_CHECKING:
    from echoingecg.evaluation.data.inputs import Provenance, StageFacts


def provenance_of(workspace: Workspace, inputs: Inputs, recipe: dict[str, Any]) -> "Provenance":
    """The same for the same artefacts, whether the evaluation is being made or is read again.

    Args:
        workspace: holds the artefacts and the pools.
        inputs: of the evaluation, of this release's contracts.
        recipe: the section `evaluation`, as JSON values.

    Raises:
        StoreError: an artefact's manifest cannot be read, or a pool is gone.
    """
    store = ArtefactStore(workspace)
    above = [store.lineage(one) for one in inputs.values()]  # a student from elsewhere has none of its own
    versions = {stage: of[stage] for stage in conventions.STAGES for of in above if stage in of}
    there = [one for stage, version in versions.items() if (one := store.find(stage, version)) is not None]
    sections = {str(one.stage): one.manifest.recipe for one in there}
    return {
        "teacher": inputs["teacher"].manifest.recipe["model"],
        "versions": {str(stage): version for stage, version in versions.items()},
        "stages": {one.stage: _facts(one) for one in there},
        "quarantine": {
            one.stage: _reasons(one) for one in there if quarantine.QUARANTINE.filename in one.manifest.files
        },
        "recipe": sections | {"evaluation": recipe},
        "history": student.HISTORY.read(inputs["student"].folder),
        "filters": pairs.FILTERS.read(inputs["pairs"].folder),
        "ecg_findings": ecg_page.finding_counts(inputs["ecg"]),
        "ecg_page": ecg_page.sample_page(workspace, inputs["ecg"]),
        "echo_sheet": teacher_page.contact_sheet(inputs["teacher"]),
        "echo_map": teacher_page.embedding_map(workspace, inputs["teacher"]),
        "pages": partial(ecg_page.pages_of, workspace, inputs["ecg"]),
    }


def _facts(artefact: Artefact) -> "StageFacts":
    manifest = artefact.manifest
    return {
        "contract_version": manifest.contract_version,
        "code_version": manifest.code_version,
        "counts": manifest.counts,
    }


def _reasons(artefact: Artefact) -> dict[str, int]:
    """Refusals by reason."""
    return dict(sorted(Counter(quarantine.QUARANTINE.read(artefact.folder)["reason"].to_pylist()).items()))


def rebuild_report(store: ArtefactStore, name: str, out: Path) -> int:
    """Writes report.html, model_card.md and figures into `out`: with the same packages the bytes that were published.

    Args:
        store: holds the evaluation and all that it was made of.
        name: of the evaluation, STAGE-VERSION or alias.
        out: made if it is absent; files of the same names are replaced.

    Returns:
        figures drawn.

    Raises:
        UserError: no such evaluation, one of another release, its inputs are gone, or `out` cannot be written.
    """
    from echoingecg.evaluation.report.render import write_report  # matplotlib, scikit-learn

    artefact = store.get(name)
    if artefact.stage != "evaluation":
        raise StoreError(f"{artefact} has no report: name an evaluation; 'artefacts list' shows all")
    if (found := artefact.manifest.contract_version) != evaluation.CONTRACT_VERSION:
        raise StoreError(
            f"{artefact} is of contract version {found}, and this release makes reports of version "
            f"{evaluation.CONTRACT_VERSION}: its own is {artefact.folder / evaluation.REPORT}; "
            "run the evaluation again for a new one"
        )
    if out.resolve().is_relative_to(store.workspace.artefacts.resolve()):
        raise StoreError(f"{out} is among the published artefacts, which never change: choose another --out")
    if out.exists() and not out.is_dir():
        raise StoreError(f"{out} is a file: --out takes a folder")
    settings = EvaluationSettings.model_validate(artefact.manifest.recipe)
    provenance = provenance_of(store.workspace, _inputs(store, artefact), artefact.manifest.recipe)
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        return write_report(artefact.folder, settings, provenance, out)


def _inputs(store: ArtefactStore, artefact: Artefact) -> Inputs:
    found = {}
    for stage, version in artefact.manifest.inputs.items():
        one = store.find(stage, version)
        if one is None:
            raise StoreError(f"{artefact} was made of {stage}-{version}, which is gone: run the pipeline again")
        found[stage] = one
    return found


_SIDE = 560  # pixels of the longer side
_COLOURS = 32  # lines and text need no more: 10 to 15 kB a figure
_MOST = 400_000  # characters in all: Prefect keeps them in its database


def show(workspace: Workspace, artefact: Artefact) -> None:
    """Publishes the figures to Prefect, in the order of their names, as far as they fit. Needs a run."""
    lines: list[str] = []
    for path in sorted((artefact.folder / evaluation.FIGURES).glob("*.png")):
        line = f"![{path.stem}](data:image/png;base64,{base64.b64encode(_small(path.read_bytes())).decode('ascii')})"
        if sum(map(len, lines)) + len(line) > _MOST:
            lines.append("The other figures are in the report.")
            break
        lines.append(line)
    if lines:
        create_markdown_artifact("\n\n".join(lines), key="evaluation-figures", description=f"{artefact}: figures")


def _small(png: bytes) -> bytes:
    from PIL import Image  # not for a cached run

    small = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        flat = image.convert("RGB")
    flat.thumbnail((_SIDE, _SIDE))
    flat.quantize(_COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()
