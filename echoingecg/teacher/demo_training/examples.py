"""The training examples of the demo teacher: studies with frames, report sentences and, where measured, LVEF."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa

from echoingecg.common import Progress, Refusal, no_progress
from echoingecg.pairs.labels import values_of_studies
from echoingecg.pairs.match import list_studies, to_frame
from echoingecg.recipe import Recipe, TeacherSettings
from echoingecg.teacher.frames import read_clip


@dataclass(frozen=True)
class Examples:
    """S studies.

    Attributes:
        frames: S arrays (frame, size, size, 3) uint8, RGB, none of them empty.
        sentences: S reports, each as its sentences.
        lvef: (S,) float64, measured, %; NaN where it was not measured.
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
        """Frames of all studies together."""
        return sum(map(len, self.frames))

    def draw_frames(self, studies: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
        """Draws one frame of each study: (size, size, 3) uint8 each."""
        chosen = random.integers(0, [len(self.frames[study]) for study in studies])
        return [self.frames[study][frame] for study, frame in zip(studies, chosen, strict=True)]

    def draw_text(self, study: int, random: np.random.Generator) -> str:
        """Draws some sentences of a report, at least one, and keeps their order."""
        sentences = self.sentences[study]
        chosen = random.choice(len(sentences), random.integers(1, len(sentences) + 1), replace=False)
        return " ".join(sentences[index] for index in np.sort(chosen))

    def select(self, studies: Sequence[int]) -> Self:
        """Selects studies, in the order given. Their frames are shared, not copied."""
        return type(self)(
            tuple(self.frames[study] for study in studies),
            tuple(self.sentences[study] for study in studies),
            self.lvef[list(studies)],
            self.patient[list(studies)],
        )

    @classmethod
    def join(
        cls,
        clips: dict[str, list[np.ndarray]],
        reports: dict[str, str],
        lvef: dict[str, float],
        patient: dict[str, str],
    ) -> Self:
        """Joins what is known of each study. Kept are studies with frames and a report, sorted by their names.

        Args:
            clips: frames by study, (frame, size, size, 3) uint8 a clip; a study that is listed has a clip.
            reports: text by study.
            lvef: % by study.
            patient: pseudonym by study.
        """
        studies = sorted(clips.keys() & reports.keys())
        return cls(
            tuple(np.concatenate(clips[study]) for study in studies),
            tuple(split_sentences(reports[study]) for study in studies),
            np.array([lvef.get(study, np.nan) for study in studies]),
            np.array([patient[study] for study in studies]),
        )


def split_sentences(report: str) -> tuple[str, ...]:
    """Cuts a report after every full stop that a space follows: `A. B.` gives (`A.`, `B.`)."""
    return tuple(f"{sentence.rstrip('.')}." for sentence in report.split(". ") if sentence.strip(" ."))


def load_examples(
    echoes: pa.Table,
    measurements: pa.Table,
    reports: pa.Table,
    paths: Mapping[str, Path],
    recipe: Recipe,
    size: int,
    progress: Progress = no_progress,
) -> Examples:
    """Reads every clip of a catalog once, with its study's report and measured LVEF.

    Files that the teacher stage would refuse are left out, as are studies without a report.

    Args:
        echoes, measurements, reports: tables of a catalog, with exact hours.
        paths: file by content hash.
        recipe: read are teaching.frames_per_clip, pairs.measurement_window_hours and teacher.mask.
        size: edge of the frames, px.
        progress: receives the number of files read.

    Raises:
        OSError: a clip's bytes cannot be read from the disk.
    """
    assert recipe.teaching is not None
    settings = TeacherSettings(max_frames=recipe.teaching.frames_per_clip, mask=recipe.teacher.mask)
    clips: dict[str, list[np.ndarray]] = defaultdict(list)
    patient = {}
    for done, row in enumerate(echoes.sort_by("clip_id").to_pylist(), start=1):
        try:
            clips[row["study_id"]].append(read_clip(paths[row["content_hash"]], settings, size))
            patient[row["study_id"]] = row["patient_id"]
        except Refusal:  # a still or a strip: the quarantine of the teacher stage names it
            pass
        progress(done, echoes.num_rows, "echo files")
    studies, window = list_studies(echoes), recipe.pairs.measurement_window_hours
    values = values_of_studies(to_frame(measurements), studies, window)
    lvef = values[values["measurement"] == "lvef"]
    return Examples.join(
        {study: study_clips for study, study_clips in clips.items() if study_clips},
        {row["subject_id"]: row["text"] for row in reports.to_pylist() if row["method"] == "ECHO"},
        dict(zip(lvef["study_id"], lvef["value"], strict=True)),
        patient,
    )
