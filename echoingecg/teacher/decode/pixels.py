"""DICOM pixel data to RGB frames: only the frames asked for are read (by seeking) and decoded, one after another.

Threads take whole clips (tasks/base/workers.py): threads for the frames of one clip would only wait for each other.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import accumulate

import cv2
import numpy as np
from pydicom import uid
from pydicom.filereader import data_element_generator
from pydicom.pixels import apply_color_lut

from echoingecg.common import Refusal
from echoingecg.teacher.decode import codecs, dicom

_JPEG_2000_COLOURS = ("YBR_ICT", "YBR_RCT")
_PIXEL_DATA, _GROUPS_BEHIND = 0x7FE00010, (0xFFFA, 0xFFFC)
_ITEM_TAG = b"\xfe\xff\x00\xe0"
_END_TAG = b"\xfe\xff\xdd\xe0"
_ITEM_HEAD_BYTES = 8  # tag and length
_MAX_FRAGMENTS_PER_FRAME = 256  # on average
_MAX_FRAGMENTS = 100_000
_TAIL_BYTES = 1024  # of a fragment, in which the end of an image is looked for
_COLOUR_STEP, _COLOUR_SHARE = 3, 0.6  # every third pixel; share of pixels of an impossible colour
_TURNED_GREEN, _GREY_LEVELS = (118, 137), 8  # greens that grey gets between RGB and YCbCr; hues that are still grey

Part = tuple[int, int]  # offset in the file and length, bytes


def decode_dicom_frames(clip: dicom.DicomClip, wanted: Sequence[int]) -> Iterator[np.ndarray]:
    """Decodes frames in the order of the file; one frame is in memory at a time.

    Args:
        clip: header of the file.
        wanted: frame numbers from 0, rising.

    Yields:
        uint8 (height, width, 3), RGB.

    Raises:
        Refusal: `truncated`, `unreadable`, `unsupported_pixels`.
        OSError: the bytes cannot be read from the disk.
    """
    _check_decodable(clip)
    to_rgb = _rgb_conversion(clip)
    streams = _encapsulated_streams if clip.pixels_length is None else _plain_streams
    with dicom.WholeFile(clip.path) as file:
        for number, stream in zip(wanted, streams(file, clip, wanted), strict=True):
            with _naming_frame(number), dicom.refusing("a frame"):
                frame = to_rgb(codecs.CODECS[clip.transfer_syntax](stream, clip))
            if number == wanted[0]:
                _check_colours(frame, clip)
            yield frame


@contextmanager
def _naming_frame(number: int) -> Iterator[None]:
    """Adds the number of the frame, from 0, to what a refusal says."""
    try:
        yield
    except Refusal as refusal:
        raise Refusal(refusal.reason, f"{refusal.detail} (frame {number})") from refusal


def check_frame_count(clip: dicom.DicomClip) -> None:
    """Checks that no more frames are stored than stated, without decoding one.

    Raises:
        Refusal: `unreadable`, `truncated`.
        OSError: the bytes cannot be read from the disk.
    """
    with dicom.WholeFile(clip.path) as file:
        if clip.pixels_length is not None:
            _plain_streams(file, clip, [])
            return
        with dicom.parsing("the encapsulated pixel data"):
            _, *fragments = _items(file, clip.pixels_offset, _MAX_FRAGMENTS)
            ends = sum(_ends_image(file, fragment) for fragment in fragments)
    if ends > clip.frames:
        raise Refusal("unreadable", f"{ends} frames are there, {clip.frames} are stated")


def _check_colours(frame: np.ndarray, clip: dicom.DicomClip) -> None:
    """Refuses a picture whose greys have become green, as when YCbCr is taken for RGB, or RGB for YCbCr.

    A grey picture in YCbCr has both colour differences at 128; RGB taken for YCbCr gets a green of 135 less a
    seventeenth of its grey.
    """
    red, green, blue = cv2.split(frame[::_COLOUR_STEP, ::_COLOUR_STEP].astype(np.int16))
    hue = np.maximum(np.abs(red - green), np.abs(blue - green))
    least, most = _TURNED_GREEN
    if ((green >= least) & (green <= most) & (hue > _GREY_LEVELS)).mean() > _COLOUR_SHARE:
        raise Refusal("unsupported_pixels", f"{clip.photometric} is stated, and the picture is of another colour space")


def _check_decodable(clip: dicom.DicomClip) -> None:
    syntax = clip.transfer_syntax
    if syntax not in codecs.CODECS:
        kind = syntax.keyword if syntax.is_transfer_syntax else "of an unknown kind"
        raise Refusal("unsupported_pixels", f"no decoder for transfer syntax {kind}")
    if clip.photometric in _JPEG_2000_COLOURS and syntax not in (uid.JPEG2000, uid.JPEG2000Lossless):
        raise Refusal("unsupported_pixels", f"{clip.photometric} in {syntax.keyword}")


def _rgb_conversion(clip: dicom.DicomClip) -> Callable[[np.ndarray], np.ndarray]:
    """Chooses the function that turns decoded samples of this file into RGB."""
    if clip.photometric == "PALETTE COLOR":
        with dicom.parsing("the palette"):
            return partial(np.take, _palette(clip), axis=0)
    if clip.photometric.startswith("YBR_FULL") and clip.transfer_syntax not in codecs.LOSSY_JPEG:
        return _from_ycbcr
    return _three_channels


def _palette(clip: dicom.DicomClip) -> np.ndarray:
    """Reads the colour of each value: uint8 (256, 3) (PS3.3 C.7.6.3.1.5)."""
    colours = apply_color_lut(np.arange(256, dtype=np.uint8), clip.dataset)
    sixteen_bits = int(clip.dataset.RedPaletteColorLookupTableDescriptor[2]) == 16
    return (colours >> 8 if sixteen_bits else colours).astype(np.uint8)


def _from_ycbcr(samples: np.ndarray) -> np.ndarray:
    """Converts the YCbCr of JPEG, full range, to RGB (PS3.3 C.7.6.3.1.2)."""
    return cv2.cvtColor(np.ascontiguousarray(samples[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)


def _three_channels(samples: np.ndarray) -> np.ndarray:
    return cv2.merge([samples] * 3) if samples.ndim == 2 else samples


def _plain_streams(file: dicom.WholeFile, clip: dicom.DicomClip, wanted: Sequence[int]) -> Iterator[bytes]:
    """Reads uncompressed frames, each from its offset."""
    assert clip.pixels_length is not None
    if clip.photometric == "YBR_FULL_422" and clip.width % 2:
        raise Refusal("unsupported_pixels", "YBR_FULL_422 of an odd width")
    samples = 2 if clip.photometric == "YBR_FULL_422" else clip.samples_per_pixel
    size = clip.height * clip.width * samples
    available, needed = file.size - clip.pixels_offset, max(clip.frames * size, clip.pixels_length)
    if available < needed or clip.pixels_length < clip.frames * size:
        raise Refusal("truncated", f"{min(available, clip.pixels_length)} bytes of pixels, {needed} are stated")
    surplus = clip.pixels_length - clip.frames * size
    if surplus >= size or _read_parts(file, [(clip.pixels_offset + clip.frames * size, surplus)]).strip(b"\0"):
        raise Refusal(
            "unreadable",
            f"{clip.pixels_length} bytes of pixels: "
            f"{clip.frames} frames in {clip.photometric} take {clip.frames * size}",
        )
    with dicom.parsing("what follows the pixel data"):
        _check_rest(file, clip.pixels_offset + clip.pixels_length, clip.transfer_syntax.is_implicit_VR)
    return (_read_parts(file, [(clip.pixels_offset + index * size, size)]) for index in wanted)


def _check_rest(file: dicom.WholeFile, offset: int, is_implicit: bool) -> None:
    """Refuses a file whose pixel data are not followed by elements up to its last byte, as where bytes were put in.

    Behind the pixels stand private groups, signatures and padding alone (PS3.5 7.1, PS3.6).

    Raises:
        Refusal: `unreadable`.
    """
    file.seek(offset)
    tag = _PIXEL_DATA
    for element in data_element_generator(file, is_implicit, is_little_endian=True):
        value = element.value
        is_whole = element.tag > tag and (not isinstance(value, bytes) or len(value) == element.length)
        if not is_whole or not (element.tag.is_private or element.tag.group in _GROUPS_BEHIND):
            break
        tag, offset = element.tag, file.tell()
    if offset != file.size:
        raise Refusal("unreadable", f"{file.size - offset} bytes behind the pixel data are no DICOM elements")


def _encapsulated_streams(file: dicom.WholeFile, clip: dicom.DicomClip, wanted: Sequence[int]) -> Iterator[bytes]:
    """Reads encoded frames from their fragments (PS3.5 A.4)."""
    with dicom.parsing("the encapsulated pixel data"):
        frames = _locate_frames(file, clip)
    return (_read_parts(file, frames[index]) for index in wanted)


def _read_parts(file: dicom.WholeFile, parts: Sequence[Part]) -> bytes:
    """Reads one encoded frame. Raises OSError if the disk cannot give the bytes."""
    chunks = []
    for offset, length in parts:
        file.seek(offset)
        chunks.append(file.read(length))
    return b"".join(chunks)


def _locate_frames(file: dicom.WholeFile, clip: dicom.DicomClip) -> list[list[Part]]:
    """Finds the fragments of each frame without reading them.

    As many fragments as frames are one fragment per frame. Otherwise an offset table says where frames begin (the
    extended table first), and without a table the end-of-image marker at the end of a fragment.

    Raises:
        Refusal: `truncated`, `unreadable`.
        OSError: the bytes cannot be read from the disk.
    """
    table, *fragments = _items(file, clip.pixels_offset, _MAX_FRAGMENTS_PER_FRAME * clip.frames + 1)
    if len(fragments) < clip.frames:
        raise Refusal("truncated", f"{len(fragments)} fragments for the {clip.frames} frames stated")
    if len(fragments) == clip.frames:
        return [[fragment] for fragment in fragments]
    if clip.frames == 1:
        return [fragments]
    starts = _starts_from_table(file, table, clip) or _starts_from_markers(file, fragments, clip)
    frames = _split(fragments, starts)
    if len(frames) != clip.frames:
        raise Refusal("unreadable", f"{len(frames)} frames are there, {clip.frames} are stated")
    return frames


def _items(file: dicom.WholeFile, offset: int, limit: int) -> Iterator[Part]:
    for _ in range(limit):
        file.seek(offset)
        head = file.read(_ITEM_HEAD_BYTES)
        if head[:4] == _END_TAG:
            return
        if head[:4] != _ITEM_TAG and len(head) == _ITEM_HEAD_BYTES:
            raise Refusal("unreadable", "the pixel data are no sequence of items")
        length = int.from_bytes(head[4:], "little")
        if len(head) < _ITEM_HEAD_BYTES or offset + _ITEM_HEAD_BYTES + length > file.size:
            raise Refusal("truncated", "the file ends within its pixel data")
        yield offset + _ITEM_HEAD_BYTES, length
        offset += _ITEM_HEAD_BYTES + length
    raise Refusal("unreadable", f"over {_MAX_FRAGMENTS_PER_FRAME} fragments a frame")


def _starts_from_table(file: dicom.WholeFile, table: Part, clip: dicom.DicomClip) -> list[int]:
    """Reads where each frame's first item begins, bytes from the first fragment's item; empty without a table."""
    if extended := clip.dataset.get("ExtendedOffsetTable"):
        return [start for (start,) in struct.iter_unpack("<Q", extended)]
    return [start for (start,) in struct.iter_unpack("<L", _read_parts(file, [table]))]


def _starts_from_markers(file: dicom.WholeFile, fragments: Sequence[Part], clip: dicom.DicomClip) -> list[int]:
    """Finds where frames begin, bytes from the first fragment's item: after each fragment that ends an image."""
    if clip.transfer_syntax == uid.RLELossless:  # a frame is one fragment (PS3.5 A.4.2), and nothing marks its end
        raise Refusal("unreadable", f"{len(fragments)} RLE fragments for {clip.frames} frames")
    starts, end = [0], 0
    for offset, length in fragments:
        end = offset + length - (fragments[0][0] - _ITEM_HEAD_BYTES)
        if _ends_image(file, (offset, length)):
            starts.append(end)
    if starts[-1] != end:
        raise Refusal("truncated", "the last frame has no end")
    return starts[:-1]


def _ends_image(file: dicom.WholeFile, fragment: Part) -> bool:
    offset, length = fragment
    tail = min(length, _TAIL_BYTES)
    return codecs.ends_image(_read_parts(file, [(offset + length - tail, tail)]))


def _split(fragments: Sequence[Part], starts: Sequence[int]) -> list[list[Part]]:
    """Groups fragments by frame. Raises Refusal: `unreadable` if a frame starts at no fragment."""
    lengths = (_ITEM_HEAD_BYTES + length for _, length in fragments)
    fragment_at = {offset: index for index, offset in enumerate(accumulate(lengths, initial=0))}
    firsts = [fragment_at.get(start, len(fragments)) for start in starts]
    if firsts[0] != 0 or firsts != sorted(set(firsts)) or firsts[-1] >= len(fragments):
        raise Refusal("unreadable", "the offset table does not fit the fragments")
    return [list(fragments[first:end]) for first, end in zip(firsts, [*firsts[1:], len(fragments)], strict=True)]
