"""Where the frames of encapsulated pixel data lie in a file (DICOM PS3.5 A.4): found without reading them."""

import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from pydicom.uid import RLELossless

from echoingecg.common.errors import Refusal
from echoingecg.teacher.decode.dicom import DicomClip
from echoingecg.teacher.decode.parsing import WholeFile

END_OF_IMAGE: Final = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike
PADDING: Final = 10  # bytes that may follow it within its frame
_ITEM: Final = b"\xfe\xff\x00\xe0"
_END: Final = b"\xfe\xff\xdd\xe0"
_HEAD: Final = 8  # tag and length of an item
_MAX_FRAGMENTS: Final = 256  # a frame, on average

Part = tuple[int, int]  # offset in the file, length; bytes


def locate_frames(file: WholeFile, clip: DicomClip) -> list[list[Part]]:
    """The fragments of each frame.

    As many fragments as frames are one each. Else an offset table tells (the extended one first), and without one
    the end-of-image marker at the end of a fragment.

    Raises:
        Refusal: `truncated`, `unreadable`.
        OSError: the disk cannot give the bytes.
    """
    table, *fragments = _items(file, clip.pixels_at, _MAX_FRAGMENTS * clip.frames + 1)
    if len(fragments) < clip.frames:
        raise Refusal("truncated", f"{len(fragments)} fragments for the {clip.frames} frames stated")
    if len(fragments) == clip.frames:
        return [[one] for one in fragments]
    if clip.frames == 1:
        return [fragments]
    starts = _offsets(file, table, clip) or _offsets_by_marker(file, fragments, clip)
    frames = _split(fragments, starts)
    if len(frames) != clip.frames:
        raise Refusal("unreadable", f"{len(frames)} frames are there, {clip.frames} are stated")
    return frames


def read_parts(file: WholeFile, parts: Sequence[Part]) -> bytes:
    """One encoded frame. Raises OSError: the disk cannot give the bytes."""
    chunks = []
    for at, length in parts:
        file.seek(at)
        chunks.append(file.read(length))
    return b"".join(chunks)


def _items(file: WholeFile, at: int, limit: int) -> Iterator[Part]:
    for _ in range(limit):
        file.seek(at)
        head = file.read(_HEAD)
        if head[:4] == _END:
            return
        if head[:4] != _ITEM and len(head) == _HEAD:
            raise Refusal("unreadable", "the pixel data are no sequence of items")
        length = int.from_bytes(head[4:], "little")
        if len(head) < _HEAD or at + _HEAD + length > file.size:
            raise Refusal("truncated", "the file ends within its pixel data")
        yield at + _HEAD, length
        at += _HEAD + length
    raise Refusal("unreadable", f"over {_MAX_FRAGMENTS} fragments a frame")


def _offsets(file: WholeFile, table: Part, clip: DicomClip) -> list[int]:
    """Of each frame's first item from the first fragment's item, bytes; empty where no table tells."""
    if extended := clip.dataset.get("ExtendedOffsetTable"):
        return [offset for (offset,) in struct.iter_unpack("<Q", extended)]
    return [offset for (offset,) in struct.iter_unpack("<L", read_parts(file, [table]))]


def _offsets_by_marker(file: WholeFile, fragments: Sequence[Part], clip: DicomClip) -> list[int]:
    """The same, where a frame begins after a fragment that holds the end of an image."""
    if clip.transfer_syntax == RLELossless:  # a frame is one fragment (PS3.5 A.4.2), and nothing marks its end
        raise Refusal("unreadable", f"{len(fragments)} RLE fragments for {clip.frames} frames")
    starts, last = [0], 0
    for at, length in fragments:
        tail = read_parts(file, [(at + max(length - PADDING, 0), min(length, PADDING))])
        last = at + length - (fragments[0][0] - _HEAD)
        if END_OF_IMAGE in tail:
            starts.append(last)
    if starts[-1] != last:
        raise Refusal("truncated", "the last frame has no end")
    return starts[:-1]


def _split(fragments: Sequence[Part], starts: Sequence[int]) -> list[list[Part]]:
    """Fragments by frame. Raises Refusal: `unreadable` where a frame starts at no fragment."""
    lengths = (_HEAD + length for _, length in fragments)
    places = {offset: index for index, offset in enumerate(accumulate(lengths, initial=0))}
    firsts = [places.get(start, len(fragments)) for start in starts]
    if firsts[0] != 0 or firsts != sorted(set(firsts)) or firsts[-1] >= len(fragments):
        raise Refusal("unreadable", "the offset table does not fit the fragments")
    return [list(fragments[first:end]) for first, end in zip(firsts, [*firsts[1:], len(fragments)], strict=True)]
