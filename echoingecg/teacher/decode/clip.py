"""What is known of an echo clip before a frame is decoded, whatever its format."""

from dataclasses import dataclass

from echoingecg.common import Refusal

_MAX_EDGE = 4096  # px; ultrasound images are about 1000 px wide
_MAX_FRAMES = 10_000  # over five minutes at 30 frames/s


@dataclass(frozen=True)
class Region:
    """One item of Sequence of Ultrasound Regions (DICOM PS3.3 C.8.5.5).

    Attributes:
        spatial_format: 1 two-dimensional, 2 M-mode, 3 spectral, 4 waveform, 5 graphics.
        left, top, right, bottom: px; right and bottom belong to the region.
        data_type: 1 tissue, 2 colour flow, 3 and 4 spectral Doppler; 0 where none is stated.
    """

    spatial_format: int
    left: int
    top: int
    right: int
    bottom: int
    data_type: int = 0


@dataclass(frozen=True)
class Clip:
    """A file whose header has been checked.

    Attributes:
        frames: as stated, 1 where nothing is.
        height, width: px.
        regions: the stated ultrasound regions, in the file's order.
        frame_rate: frames a second, 1/s; the mean where they differ, None where it is not stated.
    """

    frames: int
    height: int
    width: int
    regions: tuple[Region, ...]
    frame_rate: float | None


def check_size(frames: int, height: int, width: int) -> None:
    """Before memory is asked for. Raises Refusal: `unsupported_pixels`, `unreadable`."""
    if not (0 < height <= _MAX_EDGE and 0 < width <= _MAX_EDGE):
        raise Refusal("unsupported_pixels", f"image of {width} x {height} px, limit {_MAX_EDGE} px an edge")
    if not 0 < frames <= _MAX_FRAMES:
        raise Refusal("unreadable", f"{frames} frames stated, limit {_MAX_FRAMES}")
