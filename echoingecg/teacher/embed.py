"""Sends clips through a teacher: full batches that span clips, packed while the model runs, one replica per device.

`Teacher` says what a teacher of any library must be able to do.
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
    """Turns the frames of a clip into vectors: one per frame, one per window of frames, or one for the whole clip.

    Attributes:
        dim: width of a vector.
        image_size: edge of the square frames that it takes, px.
        batch: number of inputs of a forward pass.
        has_text_tower: whether it can embed texts.
    """

    dim: int
    image_size: int
    batch: int
    has_text_tower: bool

    def inputs(self, frames: np.ndarray) -> np.ndarray:
        """Cuts a clip into the inputs of the network, one for each vector.

        Args:
            frames: uint8 (frame, image_size, image_size, 3), RGB, at least one.

        Returns:
            uint8 (vector, ...), the other dimensions equal for all clips.
        """
        ...

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Embeds inputs, of one clip or several; no input affects the vector of another.

        Args:
            inputs: uint8 (vector, ...), on the CPU.

        Returns:
            float32 (vector, dim), each of unit length, on the teacher's device; a GPU may still be computing it.
        """
        ...

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds sentences: float32 (text, dim) of unit length, in the space of the frames.

        Raises:
            UserError: there is no text tower.
        """
        ...


Key = TypeVar("Key")


@dataclass(frozen=True)
class _Batch(Generic[Key]):
    """Inputs of one forward pass.

    Attributes:
        inputs: uint8 (Teacher.batch, ...); None where only clips without frames were left.
        filled: number of inputs that belong to clips; the others are black.
        started: key and number of vectors of each clip whose first input is in this batch.
    """

    inputs: torch.Tensor | None
    filled: int
    started: list[tuple[Key, int]]


def embed_clips(
    clips: Iterable[tuple[Key, np.ndarray]], teachers: Sequence[Teacher]
) -> Iterator[tuple[Key, np.ndarray]]:
    """Embeds clips one after another; where a clip ends within a batch, the next clip fills the batch up.

    Another thread reads clips and packs batches, at most two batches ahead. Every forward pass has the same size
    (the last is filled up with black), so that the arithmetic of an input does not depend on the other inputs.

    Args:
        clips: key and frames of each clip: uint8 (frame, image_size, image_size, 3), RGB, possibly no frame.
        teachers: replicas, one per device; they take batches in turn.

    Yields:
        key and vectors of each clip, in the order of `clips`: float16 (vector, dim), each of unit length.

    Raises:
        UserError: a network returns a value that is not finite.
    """
    unfinished: deque[tuple[Key, int]] = deque()
    vectors = np.empty((0, teachers[0].dim), np.float16)
    for batch, embedded in _forward(_read_ahead(_packed(clips, teachers[0])), teachers):
        unfinished += batch.started
        vectors = np.concatenate([vectors, embedded])
        while unfinished and unfinished[0][1] <= len(vectors):
            key, count = unfinished.popleft()
            yield key, vectors[:count]
            vectors = vectors[count:]


def _packed(clips: Iterable[tuple[Key, np.ndarray]], teacher: Teacher) -> Iterator[_Batch[Key]]:
    inputs, filled = None, 0
    started: list[tuple[Key, int]] = []
    for key, frames in clips:
        clip = torch.from_numpy(teacher.inputs(frames) if len(frames) else frames)
        started.append((key, len(clip)))
        while len(clip):
            if inputs is None:
                # A GPU copies from pinned memory while the CPU continues.
                inputs = torch.zeros(
                    (teacher.batch, *clip.shape[1:]), dtype=torch.uint8, pin_memory=torch.cuda.is_available()
                )
            part = clip[: teacher.batch - filled]
            inputs[filled : filled + len(part)] = part
            clip, filled = clip[len(part) :], filled + len(part)
            if filled == teacher.batch:
                yield _Batch(inputs, filled, started)
                inputs, filled, started = None, 0, []
    if started or filled:
        yield _Batch(inputs, filled, started)


def _read_ahead(batches: Iterator[_Batch[Key]]) -> Iterator[_Batch[Key]]:
    """Yields the batches, which another thread packs."""
    with closing(prefetched(lambda _: next(batches, None), repeat(None))) as batches_ahead:
        while (batch := next(batches_ahead)) is not None:
            yield batch


def _forward(batches: Iterator[_Batch[Key]], teachers: Sequence[Teacher]) -> Iterator[tuple[_Batch[Key], np.ndarray]]:
    """Yields every batch with the float16 vectors of its clips.

    A replica receives its next batch before the vectors of its last one are awaited, so a GPU is never idle.
    """
    running: deque[tuple[_Batch[Key], torch.Tensor]] = deque()
    for batch, teacher in zip(batches, cycle(teachers), strict=False):
        running.append((batch, torch.empty(0, teacher.dim) if batch.inputs is None else teacher.forward(batch.inputs)))
        if len(running) > len(teachers):
            yield _finished(*running.popleft())
    while running:
        yield _finished(*running.popleft())


def _finished(batch: _Batch[Key], embedded: torch.Tensor) -> tuple[_Batch[Key], np.ndarray]:
    vectors = embedded[: batch.filled]
    if not torch.isfinite(vectors).all():
        raise UserError("teacher: an embedding is not finite: are its weights whole, or set precision: float32")
    return batch, vectors.half().cpu().numpy()
