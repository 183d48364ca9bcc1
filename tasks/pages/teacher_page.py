"""A look at a teacher artefact: masked frames of some clips, a map of its studies, its refusals by reason.

Nothing in it names anyone: frames are black outside the sector, where scanners print.
"""

import base64
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from data_contracts import teacher as contract
from data_contracts.catalog import ECHOES, MEASUREMENTS
from data_contracts.quarantine import QUARANTINE, REASONS
from echoingecg.recipe import PairsSettings
from tasks.base.workspace import Workspace
from tasks.ingest.ingest import source_files
from tasks.pools.targets import read_targets
from tasks.store.artefact import Artefact
from tasks.store.artefacts import ArtefactStore
from tasks.store.job import Job

_CLIPS = 3
_COLOUR = "lvef"


def write_sheet(job: Job, clips: list[dict[str, Any]], listed: pa.Table, folder: Path) -> None:
    """Writes CONTACT_SHEET: one clip each of the first studies. Without a mask there is none: text would show.

    Args:
        job: names the export and the teacher's settings.
        clips: rows of contract.CLIPS.
        listed: ECHOES of the catalog.
        folder: of the artefact that is being built.
    """
    if not job.recipe.teacher.mask:
        return
    from echoingecg.teacher.pictures import masked_contact_sheet  # OpenCV: not for a cached run

    of_study = {row["study_id"]: row["content_hash"] for row in clips}
    shown = [content_hash for _, content_hash in sorted(of_study.items())[:_CLIPS]]
    files = source_files(job, listed.filter(pc.is_in(listed["content_hash"], pa.array(shown, pa.string()))))
    paths = files.paths()
    if sheet := masked_contact_sheet([paths[content_hash] for content_hash in shown], job.recipe.teacher):
        (folder / contract.CONTACT_SHEET).write_bytes(sheet)


def contact_sheet(artefact: Artefact) -> bytes | None:
    """The PNG that `write_sheet` wrote, if it did."""
    path = artefact.folder / contract.CONTACT_SHEET
    return path.read_bytes() if path.is_file() else None


def embedding_map(workspace: Workspace, artefact: Artefact) -> bytes | None:
    """PNG of the study targets, coloured by LVEF, or without any by what most studies have; None of few studies.

    A measurement that names no study goes to the nearest within the default window of the stage `pairs`, whose
    recipe the teacher does not know.

    Args:
        workspace: holds the catalog that the artefact was made from.
        artefact: of stage teacher, of this release's contract.
    """
    from echoingecg.pairs.match import (
        FilterSteps,
        list_studies,
        study_labels,  # pandas, matplotlib: not for a cached run
        to_frame,
    )
    from echoingecg.teacher.pictures import draw_embedding_map

    catalog = ArtefactStore(workspace).find("catalog", artefact.manifest.inputs["catalog"])
    assert catalog is not None
    studies, mean, _ = read_targets(artefact)
    labels = study_labels(
        to_frame(MEASUREMENTS.read(catalog.folder)), list_studies(ECHOES.read(catalog.folder)),
        to_frame(studies, "study_id"), PairsSettings().measurement_window_hours, FilterSteps("labels"),
    )  # fmt: skip
    names = Counter(labels["measurement"])
    name = _COLOUR if _COLOUR in names else min(names, key=lambda one: (-names[one], one), default="no measurement")
    chosen = labels[labels["measurement"] == name]
    value = dict(zip(chosen["study_id"], chosen["value"], strict=True))
    values = np.array([value.get(study, np.nan) for study in studies["study_id"].to_pylist()])
    return draw_embedding_map(mean, values, name, ", ".join(sorted(set(chosen["unit"]))))


def show(workspace: Workspace, artefact: Artefact) -> None:
    """Publishes the refusals and both pictures to Prefect. Needs a task run."""
    reasons = Counter(QUARANTINE.read(artefact.folder)["reason"].to_pylist())
    create_table_artifact(
        [
            {"reason": reason, "meaning": REASONS[reason], "echo files": count}
            for reason, count in reasons.most_common()
        ],
        key="teacher-refusals",
        description=f"{artefact}: {reasons.total()} refused",
    )
    pictures = {
        "clips as the teacher sees them": contact_sheet(artefact),
        "map of the studies": embedding_map(workspace, artefact),
    }
    lines = [
        f"![{says}](data:image/png;base64,{base64.b64encode(picture).decode('ascii')})"
        for says, picture in pictures.items()
        if picture is not None
    ]
    create_markdown_artifact("\n\n".join(lines), key="teacher-samples", description=f"{artefact}: a look")
