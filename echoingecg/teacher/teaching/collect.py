"""From the tables of a catalog to examples: which frames, which sentences, which measured LVEF belong together."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from echoingecg.common.errors import Refusal
from echoingecg.pairs.labels import study_labels
from echoingecg.pairs.match import frame_of, studies_listed
from echoingecg.pairs.steps import Steps
from echoingecg.progress import Progress, silent
from echoingecg.recipe import PairsSettings, TeacherSettings, TeachingSettings
from echoingecg.teacher.demo_training.examples import Examples
from echoingecg.teacher.frames import read_clip

LVEF = "lvef"


def collect(
    echoes: pa.Table,
    reports: pa.Table,
    measurements: pa.Table,
    paths: Mapping[str, Path],
    settings: TeachingSettings,
    pairs: PairsSettings,
    size: int,
    progress: Progress = silent,
    mask: bool = True,
) -> Examples:
    """Reads every clip once. Files that the teacher stage would refuse are left out, as are studies without report.

    Args:
        echoes, reports, measurements: tables of the catalog artefact.
        paths: file by content hash.
        settings: frames_per_clip is read.
        pairs: measurement_window_hours is read.
        size: edge of the frames, px.
        progress: told the files read.
        mask: as in TeacherSettings.

    Raises:
        OSError: the disk cannot give the bytes.
    """
    wanted = TeacherSettings(max_frames=settings.frames_per_clip, mask=mask)
    clips: dict[str, list[np.ndarray]] = defaultdict(list)
    patient = {}
    for done, row in enumerate(echoes.sort_by("clip_id").to_pylist(), start=1):
        try:
            clips[row["study_id"]].append(read_clip(paths[row["content_hash"]], wanted, size))
            patient[row["study_id"]] = row["patient_id"]
        except Refusal:  # a still, a strip: the teacher stage names it in its quarantine
            pass
        progress(done, echoes.num_rows, "echo files")
    listed = studies_listed(echoes)
    labels = study_labels(frame_of(measurements), listed, listed, pairs.measurement_window_hours, Steps("labels"))
    lvef = labels[labels["measurement"] == LVEF]
    spoken = {row["subject_id"]: row["text"] for row in reports.to_pylist() if row["method"] == "ECHO"}
    return Examples.of(
        {study: found for study, found in clips.items() if found},
        spoken,
        dict(zip(lvef["study_id"], lvef["value"], strict=True)),
        patient,
    )
