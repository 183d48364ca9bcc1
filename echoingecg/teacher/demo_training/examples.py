"""What the teacher is taught with: studies, each with frames and the sentences of its report."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


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
