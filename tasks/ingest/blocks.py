"""Echo files to rows of the teacher's pool: workers decode, this process embeds. Imports little: workers pay for it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING

import cv2
import numpy as np

from data_contracts import teacher as contract
from echoingecg.common import hash_array
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.frames import read_clip
from tasks.base.workers import Map
from tasks.pools.transaction import Attempt, Block, Rows, SourceFile, attempt, block_of, key_rows

if TYPE_CHECKING:
    from echoingecg.teacher.embed import Teacher


def decode(settings: TeacherSettings, size: int, file: SourceFile) -> Attempt:
    """The frames of one file that the teacher is to see, uint8 (frame, size, size, 3), or why there are none.

    Raises:
        StoreError: the file cannot be read or has changed since the catalog.
    """
    cv2.setNumThreads(1)  # clips are what runs side by side: OpenCV's own threads would be in their way
    return attempt(lambda one: read_clip(one.path, settings, size), file)


def embedded_blocks(
    run: Map,
    settings: TeacherSettings,
    teachers: "Sequence[Teacher]",
    together: int,
    groups: Iterable[Sequence[SourceFile]],
) -> Iterator[Block]:
    """Every file as rows of the contiguous ragged array, or refused; in order, `together` files a block.

    Args:
        run: maps over the workers that decode.
        settings: which frames to take.
        teachers: replicas of one teacher.
        together: files a block.
        groups: the files.
    """
    from echoingecg.teacher.embed import embed_clips  # torch: the workers do without

    decoded = run(partial(decode, settings, teachers[0].image_size), chain.from_iterable(groups))
    embedded = (replace(one, value=found) for one, found in embed_clips(map(_apart, decoded), teachers))
    while batch := list(islice(embedded, together)):
        yield block_of(batch, _rows)


def _apart(one: Attempt) -> tuple[Attempt, np.ndarray]:
    """An attempt and its frames; a refusal has none."""
    frames = np.empty((0, 1, 1, 3), np.uint8) if one.refusal else one.value
    return replace(one, value=None), frames


def _rows(batch: list[Attempt]) -> Rows:
    lengths = np.array([len(one.value) for one in batch], dtype=np.int64)
    return {
        contract.KEY.name: key_rows([one.content_hash for one in batch]),
        contract.CLIP_FRAMES.name: lengths,
        contract.EMBEDDING.name: np.concatenate([one.value for one in batch]),
        contract.DIGEST.name: key_rows([hash_array(one.value) for one in batch]),
    }
