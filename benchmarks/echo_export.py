"""Exports of echo clips alone, in MIMIC-IV-ECHO's layout: small moving sectors, each clip of its own content."""

import csv
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from echoingecg.simulator.echo.study import Acquisition, write_dicom
from flows.request import find_recipe, make_job
from tasks.store import Job

_EDGE = 64  # px
_CLIPS = 5  # a study
_ACQUIRED = datetime(2150, 1, 1, 12)


def write_export(root: Path, clips: int, before: int = 0) -> None:
    """Writes `clips` clips of 3 to 6 frames, of which the first `before` are there already."""
    folder, rows = root / "mimic-iv-echo", []
    for number in range(clips):
        subject, study = 10_000_000 + number // _CLIPS, 90_000_000 + number // _CLIPS
        path = f"files/p{number // 1000}/{study}/{number}.dcm"
        if number >= before:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            box = (0, 0, _EDGE - 1, _EDGE - 1)
            write_dicom(
                folder / path, _sector(number), Acquisition(0, subject, study, number, _ACQUIRED, box, 1.0, 30.0, 60)
            )
        rows.append([subject, study, _ACQUIRED.isoformat(" "), path])
    with (folder / "echo-record-list.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject_id", "study_id", "acquisition_datetime", "dicom_filepath"])
        table.writerows(rows)


def echo_job(export: Path | str, workspace: Path | str, *settings: str) -> Job:
    """Recipe `demo` with frames of 56 px and a public key, and more settings as on the command line."""
    usual = ["catalog.public_key=open", "teacher.image_size=56", "teacher.frame_stride=1", *settings]
    return make_job(find_recipe("demo", usual), str(export), str(workspace), public_data=True)


def _sector(number: int) -> np.ndarray:
    """uint8 (frame, height, width, 3): speckle that moves within a sector, its apex at the top."""
    random = np.random.default_rng(number)
    grain = random.integers(60, 256, (3 + number % 4, _EDGE, _EDGE), dtype=np.uint8)
    sector = np.zeros((_EDGE, _EDGE), np.uint8)
    cv2.ellipse(sector, (_EDGE // 2, 0), (_EDGE - 4, _EDGE - 4), 90, -40, 40, 1, -1)
    return np.stack([np.repeat((cv2.GaussianBlur(one, (5, 5), 0) * sector)[..., None], 3, axis=2) for one in grain])
