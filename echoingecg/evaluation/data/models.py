"""Where ECGs and sentences can be compared: a text tower, and ECGs in its space."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from echoingecg.common.errors import ContractError
from echoingecg.evaluation.data.embed import StudentModel, TextTower, embed_prompts
from echoingecg.evaluation.gaussians import Gaussians
from echoingecg.evaluation.names import CENTRED, STUDENT, TEACHER
from echoingecg.evaluation.skipped import Skipped

MAX_TEXTS: Final = 1000  # reports of which the text modality's mean is taken
Words = Callable[[Sequence[str]], Gaussians]


@dataclass(frozen=True)
class Space:
    """ECGs among sentences.

    Attributes:
        ecgs: r ECGs.
        words: puts echo sentences into the space.
        scale: the student's learned scale of the match logit.
        model: whose ECGs.
    """

    ecgs: Gaussians
    words: Words
    scale: float
    model: str = STUDENT


def student_space(student: StudentModel, ecgs: Gaussians, model: str = STUDENT) -> Space:
    """By the student's own text tower."""
    dim = ecgs.mean.shape[1]
    return Space(ecgs, lambda texts: embed_prompts(student, tuple(texts), dim), student.scale, model)


def teacher_space(teacher: TextTower, own: Space) -> Space:
    """By the teacher's text tower: the student's ECGs were drawn to the teacher's echoes, which lie beside its texts.

    Sentences have no variance there.
    """
    dim = own.ecgs.mean.shape[1]

    def words(texts: Sequence[str]) -> Gaussians:
        mean = teacher.embed_text(list(texts))
        if mean.shape != (len(texts), dim):
            raise ContractError(f"teacher: sentences embed to {mean.shape}, expected ({len(texts)}, {dim})")
        return Gaussians.certain(mean)

    return Space(own.ecgs, words, own.scale)


def centred(space: Space, training: np.ndarray, texts: Sequence[str]) -> Space | Skipped:
    """The space with each modality's training mean taken off, and unit length again.

    ECGs and texts lie in cones of their own; the way from cone to cone is the same for all and says nothing
    of a patient (collapse of Connect, Collapse, Corrupt: Zhang et al., ICLR 2024).

    Args:
        space: any.
        training: (r,) bool, ECGs of the training split.
        texts: echo reports of the training split; at most MAX_TEXTS of them are read, evenly spread.
    """
    if not training.any() or not texts:
        return Skipped(f"the training split has no {'echo report' if training.any() else 'paired ECG'} to centre by")
    chosen = [texts[at] for at in np.linspace(0, len(texts) - 1, min(len(texts), MAX_TEXTS)).astype(int)]
    of_ecgs = space.ecgs.mean[training].mean(axis=0, dtype=np.float64)
    of_texts = space.words(chosen).mean.mean(axis=0, dtype=np.float64)
    return replace(
        space,
        ecgs=_shifted(space.ecgs, of_ecgs),
        words=lambda sentences: _shifted(space.words(sentences), of_texts),
    )


def _shifted(gaussians: Gaussians, by: np.ndarray) -> Gaussians:
    mean = gaussians.mean - by
    length = np.linalg.norm(mean, axis=1, keepdims=True)
    return replace(gaussians, mean=(mean / np.maximum(length, np.finfo(np.float32).tiny)).astype(np.float32))


def all_spaces(
    own: Space, teacher: TextTower | None, centring: tuple[np.ndarray, Sequence[str]] | None
) -> dict[str, Space | Skipped]:
    """The spaces of the student under test by suffix.

    Args:
        own: by its text tower.
        teacher: None when the teacher has no text tower.
        centring: `training` and `texts` of `centred`; None leaves the centred spaces out.
    """
    theirs = Skipped("this teacher has no text tower") if teacher is None else teacher_space(teacher, own)
    found: dict[str, Space | Skipped] = {"": own, TEACHER: theirs}
    if centring is not None:
        for suffix, space in tuple(found.items()):
            found[suffix + CENTRED] = space if isinstance(space, Skipped) else centred(space, *centring)
    return found
