"""The report of a published evaluation, made again from artefacts alone."""

from pathlib import Path

from data_contracts.evaluation import CONTRACT_VERSION, REPORT
from echoingecg.common.errors import StoreError
from echoingecg.recipe import EvaluationSettings
from tasks.pages.evaluation_page import provenance_of
from tasks.stage import Inputs
from tasks.store.artefacts import Artefact, ArtefactStore
from tasks.workspace import writing_to


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
    from echoingecg.evaluation.write_report import write_report  # matplotlib, scikit-learn

    artefact = store.get(name)
    if artefact.stage != "evaluation":
        raise StoreError(f"{artefact} has no report: name an evaluation; 'artefacts list' shows all")
    if (found := artefact.manifest.contract_version) != CONTRACT_VERSION:
        raise StoreError(
            f"{artefact} is of contract version {found}, and this release makes reports of version "
            f"{CONTRACT_VERSION}: its own is {artefact.folder / REPORT}; run the evaluation again for a new one"
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
