"""What the teacher is taught with: studies, each with frames and the sentences of its report.

From the tables of a catalog to examples: which frames, which sentences, which measured LVEF belong together.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from echoingecg.common import Progress, Refusal, silent
from echoingecg.pairs.match import Steps, frame_of, studies_listed, study_labels
from echoingecg.recipe import PairsSettings, TeacherSettings, TeachingSettings
from echoingecg.teacher.frames import read_clip


@dataclass(frozen=True)
class Examples:
    """S studies.

    Attributes:
        frames: S arrays (frame, size, size, 3) uint8, RGB, none of them empty.
        sentences: S reports, each as its sentences.
        lvef: (S,) float64, measured, %; NaN where it was not.
        patient: (S,) str, pseudonyms.
    """

    frames: tuple[np.ndarray, ...]
    sentences: tuple[tuple[str, ...], ...]
    lvef: np.ndarray
    patient: np.ndarray

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def frame_count(self) -> int:
        return sum(len(one) for one in self.frames)

    def draw_frames(self, studies: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
        """One frame of each study, at random: (size, size, 3) uint8 each."""
        chosen = random.integers(0, [len(self.frames[study]) for study in studies])
        return [self.frames[study][at] for study, at in zip(studies, chosen, strict=True)]

    def draw_text(self, study: int, random: np.random.Generator) -> str:
        """Some sentences of a report, at least one, in their order."""
        sentences = self.sentences[study]
        chosen = random.choice(len(sentences), random.integers(1, len(sentences) + 1), replace=False)
        return " ".join(sentences[at] for at in np.sort(chosen))

    def select(self, studies: Sequence[int]) -> Self:
        """Some of the studies, in the order given; their frames are shared, not copied."""
        return type(self)(
            tuple(self.frames[study] for study in studies),
            tuple(self.sentences[study] for study in studies),
            self.lvef[list(studies)],
            self.patient[list(studies)],
        )

    @classmethod
    def of(
        cls,
        clips: dict[str, list[np.ndarray]],
        reports: dict[str, str],
        lvef: dict[str, float],
        patient: dict[str, str],
    ) -> Self:
        """Examples of the studies that have both frames and a report, in the order of their names.

        Args:
            clips: frames by study, (frame, size, size, 3) uint8 a clip; a study that is listed has a clip.
            reports: text by study.
            lvef: % by study.
            patient: pseudonym by study.
        """
        studies = sorted(clips.keys() & reports.keys())
        return cls(
            tuple(np.concatenate(clips[study]) for study in studies),
            tuple(sentences_of(reports[study]) for study in studies),
            np.array([lvef.get(study, np.nan) for study in studies]),
            np.array([patient[study] for study in studies]),
        )


def sentences_of(report: str) -> tuple[str, ...]:
    """`A. B.` as (`A.`, `B.`): cut after a full stop that a space follows."""
    return tuple(f"{one.rstrip('.')}." for one in report.split(". ") if one.strip(" ."))


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
