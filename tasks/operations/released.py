"""Released weights as a student artefact, and any student artefact in the released layout."""

import time
from dataclasses import dataclass
from pathlib import Path

from data_contracts.conventions import Stage
from data_contracts.student import CONTRACT_VERSION
from echoingecg.common import StoreError, hash_files
from tasks.base.workspace import writing_to
from tasks.store.artefact import Artefact, Built, Plan
from tasks.store.artefacts import ArtefactStore

STAGE: Stage = "student"


@dataclass(frozen=True)
class Files:
    """What an import reads.

    Attributes:
        weights: torch state dict or safetensors in the released layout.
        scaler: StandardScaler of joblib or pickle, or `ecg_scaler.json`.
        text: folder or cached Hugging Face name of the text tower's tokenizer.
        config: config.json of the text tower; None takes the one beside the weights, or BERT-base.
    """

    weights: Path
    scaler: Path
    text: str
    config: Path | None = None


def import_released(store: ArtefactStore, files: Files) -> Artefact:
    """The student artefact of the files; the same files give the same version, wherever they lie.

    It has no inputs: what it was trained on is not in this workspace. Its sources are the files' digests.

    Raises:
        UserError: see echoingecg.student.released.layout.read_released.
    """
    from echoingecg.student.released.layout import CODE_VERSION, read_released, save_released  # torch

    started = time.monotonic()
    released = read_released(files.weights, files.scaler, files.text, files.config)
    plan = Plan(
        stage=STAGE,
        contract_version=CONTRACT_VERSION,
        code_version=CODE_VERSION,
        recipe=released.settings.model_dump(mode="json"),
        source={
            "released_weights": hash_files([files.weights]),
            "released_scaler": hash_files([files.scaler]),
            **released.digests(),
        },
        inputs={},
    )
    with store.locked(plan):
        if (found := store.find(plan.stage, plan.version)) is not None:
            return found
        with store.building(plan) as folder:
            save_released(released, folder)
            return store.publish(plan, folder, Built(released.counts()), started)


def export_released(store: ArtefactStore, name: str, folder: Path) -> list[Path]:
    """Writes a published student in the released layout.

    Args:
        store: holds it.
        name: STAGE-VERSION or an alias.
        folder: new or empty.

    Returns:
        The files written.

    Raises:
        StoreError: no such artefact, not a student, or a folder that holds something.
    """
    from echoingecg.student.released.layout import export_released as export  # torch
    from echoingecg.student.store import load

    artefact = store.get(name)
    if artefact.stage != STAGE:
        raise StoreError(f"{artefact} is no student: 'artefacts list' shows which are")
    student = load(artefact.folder)
    with writing_to(folder):
        return export(student, folder)
