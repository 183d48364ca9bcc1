"""Counts the frames of an MP4 that are shown: a cut without re-encoding keeps frames before and after its edit list.

ISO/IEC 14496-12: boxes (4.2), time to sample and composition offsets (8.6.1), edit list (8.6.6).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from echoingecg.common import Refusal

_MAX_INDEX_BYTES = 1 << 26  # of the box that describes the streams; a clip's has some kB
_MAX_SAMPLES = 100_000
_NOTHING = -1  # media time of an entry that shows nothing


def shown_frames(path: Path) -> int | None:
    """Counts the frames that the first video stream's edit list shows; None where there is none, or several parts.

    Raises:
        Refusal: `truncated`: a box is longer than the file.
        OSError: the bytes cannot be read from the disk.
    """
    index = _index(path)
    tracks = [body for kind, body in _boxes(index) if kind == b"trak"]
    for track in tracks:
        if _first(track, b"mdia", b"hdlr")[8:12] == b"vide":
            return _shown(track, index)
    return None


def _index(path: Path) -> bytes:
    """Reads the box `moov`, and checks that every box lies within the file."""
    size, index = path.stat().st_size, b""
    with path.open("rb") as file:
        offset = 0
        while offset + 8 <= size:
            file.seek(offset)
            head = file.read(16)
            length, kind = struct.unpack(">I4s", head[:8])
            start = 8
            if length == 1 and len(head) == 16:
                length, start = struct.unpack(">Q", head[8:])[0], 16
            if length == 0:  # to the end of the file
                length = size - offset
            if length < start or not kind.isascii():
                break  # no box any more
            if offset + length > size:
                raise Refusal("truncated", "the file ends within the frames of its video")
            if kind == b"moov" and length <= _MAX_INDEX_BYTES:
                file.seek(offset + start)
                index = file.read(length - start)
            offset += length
    return index


def _boxes(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 0
    while offset + 8 <= len(body):
        length, kind = struct.unpack(">I4s", body[offset : offset + 8])
        start = 8
        if length == 1 and offset + 16 <= len(body):
            length, start = struct.unpack(">Q", body[offset + 8 : offset + 16])[0], 16
        length = length or len(body) - offset
        if length < start:
            return
        yield kind, body[offset + start : offset + length]
        offset += length


def _first(body: bytes, *kinds: bytes) -> bytes:
    """Follows boxes within boxes: the content of the last, empty where one is absent."""
    for kind in kinds:
        body = next((inner for name, inner in _boxes(body) if name == kind), b"")
    return body


def _shown(track: bytes, index: bytes) -> int | None:
    edits = [edit for edit in _edits(_first(track, b"edts", b"elst")) if edit[1] != _NOTHING]
    times = _times(_first(track, b"mdia", b"minf", b"stbl"))
    scales = [_time_scale(box) for box in (_first(index, b"mvhd"), _first(track, b"mdia", b"mdhd"))]
    if len(edits) != 1 or times is None or 0 in scales:
        return None
    duration, start = edits[0]
    end = start + -(-duration * scales[1] // scales[0]) if duration else np.inf
    return int(np.count_nonzero((times >= start) & (times < end)))


def _edits(box: bytes) -> list[tuple[int, int]]:
    """Lists duration, in units of the film, and media time of each entry."""
    if len(box) < 8:
        return []
    entry = ">QqI" if box[0] else ">IiI"
    size = struct.calcsize(entry)
    count = min(struct.unpack(">I", box[4:8])[0], (len(box) - 8) // size)
    return [struct.unpack_from(entry, box, 8 + number * size)[:2] for number in range(count)]


def _time_scale(box: bytes) -> int:
    offset = 20 if box[:1] == b"\1" else 12
    return struct.unpack(">I", box[offset : offset + 4])[0] if len(box) >= offset + 4 else 0


def _times(table: bytes) -> np.ndarray | None:
    """Returns when each frame is shown, in units of the stream: int64 (frame,), in the order of the file."""
    steps = _runs(_first(table, b"stts"))
    if steps is None:
        return None
    times = np.concatenate([[0], np.cumsum(steps)[:-1]]) if len(steps) else steps
    offsets = _runs(_first(table, b"ctts"))
    return times + offsets if offsets is not None and len(offsets) == len(times) else times


def _runs(box: bytes) -> np.ndarray | None:
    """Reads pairs of count and value: int64 (sum of counts,); None of an absent or unlikely table."""
    if len(box) < 8:
        return None
    pairs = np.frombuffer(box[8 : 8 + (len(box) - 8) // 8 * 8], ">i4").reshape(-1, 2).astype(np.int64)
    if (pairs[:, 0] < 0).any() or pairs[:, 0].sum() > _MAX_SAMPLES:
        return None
    return np.repeat(pairs[:, 1], pairs[:, 0])
