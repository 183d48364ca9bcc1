"""Clips through teachers: full batches that span clips, read ahead while the model runs, one replica a device.

What a teacher must be able to do, whichever library it comes from.

One echo file to embeddings, by itself.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle, repeat
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch

from data_contracts.conventions import UserError
from echoingecg.common import prefetched


class Teacher(Protocol):
    """Frames of one clip in, vectors out: one a frame, one a window of frames, or one for the whole clip.

    Attributes:
        dim: width of a vector.
        image_size: edge of the square frames that it takes, px.
        batch: inputs of a forward pass.
        has_text_tower: whether it can embed texts.
    """

    dim: int
    image_size: int
    batch: int
    has_text_tower: bool

    def inputs(self, frames: np.ndarray) -> np.ndarray:
        """What each vector of a clip is made of.

        Args:
            frames: uint8 (frame, image_size, image_size, 3), RGB, at least one.

        Returns:
            uint8 (vector, ...), the other dimensions equal for all clips.
        """
        ...

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Embeds inputs of any clips, each on its own.

        Args:
            inputs: uint8 (vector, ...), on the CPU.

        Returns:
            float32 (vector, dim), each of unit length, on the teacher's device; a GPU may still be at work on it.
        """
        ...

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (text, dim) of unit length, in the space of the frames. Raises UserError without a text tower."""
        ...


Key = TypeVar("Key")


@dataclass(frozen=True)
class _Batch(Generic[Key]):
    """Inputs of one forward pass.

    Attributes:
        inputs: uint8 (Teacher.batch, ...); None where only clips without frames were left.
        filled: inputs that belong to clips; the others are black.
        begun: key and number of vectors of each clip that begins here.
    """

    inputs: torch.Tensor | None
    filled: int
    begun: list[tuple[Key, int]]


def embed_clips(
    clips: Iterable[tuple[Key, np.ndarray]], teachers: Sequence[Teacher]
) -> Iterator[tuple[Key, np.ndarray]]:
    """Embeds clips one after another; where one ends within a batch, the next fills it up.

    Clips are taken and batches packed by another thread, two batches ahead at most. Every pass has the same
    size, the last is filled up with black, so that the same arithmetic meets an input in whatever company.

    Args:
        clips: whatever names the clip, and its uint8 (frame, image_size, image_size, 3), RGB; maybe no frame.
        teachers: replicas, one a device; they take batches in turn.

    Yields:
        the clip's name, and float16 (vector, dim), each of unit length; in the order of `clips`.

    Raises:
        UserError: a network gives a value that is not finite.
    """
    due: deque[tuple[Key, int]] = deque()
    vectors = np.empty((0, teachers[0].dim), np.float16)
    for batch, embedded in _forward(_ahead(_packed(clips, teachers[0])), teachers):
        due += batch.begun
        vectors = np.concatenate([vectors, embedded])
        while due and due[0][1] <= len(vectors):
            key, count = due.popleft()
            yield key, vectors[:count]
            vectors = vectors[count:]


def _packed(clips: Iterable[tuple[Key, np.ndarray]], teacher: Teacher) -> Iterator[_Batch[Key]]:
    inputs, filled = None, 0
    begun: list[tuple[Key, int]] = []
    for key, frames in clips:
        clip = torch.from_numpy(teacher.inputs(frames) if len(frames) else frames)
        begun.append((key, len(clip)))
        while len(clip):
            if inputs is None:
                # Pinned memory is what a GPU can fetch while the host goes on.
                inputs = torch.zeros(
                    (teacher.batch, *clip.shape[1:]), dtype=torch.uint8, pin_memory=torch.cuda.is_available()
                )
            part = clip[: teacher.batch - filled]
            inputs[filled : filled + len(part)] = part
            clip, filled = clip[len(part) :], filled + len(part)
            if filled == teacher.batch:
                yield _Batch(inputs, filled, begun)
                inputs, filled, begun = None, 0, []
    if begun or filled:
        yield _Batch(inputs, filled, begun)


def _ahead(batches: Iterator[_Batch[Key]]) -> Iterator[_Batch[Key]]:
    """The same, made by another thread."""
    with closing(prefetched(lambda _: next(batches, None), repeat(None))) as made:
        while (batch := next(made)) is not None:
            yield batch


def _forward(batches: Iterator[_Batch[Key]], teachers: Sequence[Teacher]) -> Iterator[tuple[_Batch[Key], np.ndarray]]:
    """Every batch with the float16 vectors of its clips.

    A replica is given its next batch before the last one's vectors are waited for, so a GPU never idles.
    """
    at_work: deque[tuple[_Batch[Key], torch.Tensor]] = deque()
    for batch, teacher in zip(batches, cycle(teachers), strict=False):
        at_work.append((batch, torch.empty(0, teacher.dim) if batch.inputs is None else teacher.forward(batch.inputs)))
        if len(at_work) > len(teachers):
            yield _finished(*at_work.popleft())
    while at_work:
        yield _finished(*at_work.popleft())


def _finished(batch: _Batch[Key], embedded: torch.Tensor) -> tuple[_Batch[Key], np.ndarray]:
    vectors = embedded[: batch.filled]
    if not torch.isfinite(vectors).all():
        raise UserError("teacher: an embedding is not finite: are its weights whole, or set precision: float32")
    return batch, vectors.half().cpu().numpy()
