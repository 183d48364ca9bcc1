"""What a report tells of the artefacts behind an evaluation, read from these artefacts and their manifests alone."""

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from data_contracts import pairs, student
from data_contracts.conventions import STAGES
from data_contracts.quarantine import QUARANTINE
from tasks.pages.ecg_page import finding_counts, pages_of, sample_page
from tasks.pages.teacher_page import contact_sheet, embedding_map
from tasks.stage import Inputs
from tasks.store.artefacts import Artefact, ArtefactStore
from tasks.workspace import Workspace

if TYPE_CHECKING:
    from echoingecg.evaluation.provenance import Provenance, StageFacts


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
    versions = {stage: of[stage] for stage in STAGES for of in above if stage in of}
    there = [one for stage, version in versions.items() if (one := store.find(stage, version)) is not None]
    sections = {str(one.stage): one.manifest.recipe for one in there}
    return {
        "teacher": inputs["teacher"].manifest.recipe["model"],
        "versions": {str(stage): version for stage, version in versions.items()},
        "stages": {one.stage: _facts(one) for one in there},
        "quarantine": {one.stage: _reasons(one) for one in there if QUARANTINE.filename in one.manifest.files},
        "recipe": sections | {"evaluation": recipe},
        "history": student.HISTORY.read(inputs["student"].folder),
        "filters": pairs.FILTERS.read(inputs["pairs"].folder),
        "ecg_findings": finding_counts(inputs["ecg"]),
        "ecg_page": sample_page(workspace, inputs["ecg"]),
        "echo_sheet": contact_sheet(inputs["teacher"]),
        "echo_map": embedding_map(workspace, inputs["teacher"]),
        "pages": partial(pages_of, workspace, inputs["ecg"]),
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
    return dict(sorted(Counter(QUARANTINE.read(artefact.folder)["reason"].to_pylist()).items()))
