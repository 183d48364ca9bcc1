"""The header of an echo clip in any format: what is known before a frame is decoded."""

from dataclasses import dataclass

from echoingecg.common import Refusal

MAX_EDGE_PX = 4096  # ultrasound images are about 1000 px wide
_MAX_FRAMES = 10_000  # over five minutes at 30 frames/s


@dataclass(frozen=True)
class Region:
    """One item of Sequence of Ultrasound Regions (DICOM PS3.3 C.8.5.5).

    Attributes:
        spatial_format: 1 two-dimensional, 2 M-mode, 3 spectral, 4 waveform, 5 graphics.
        left, top, right, bottom: px; right and bottom belong to the region.
        data_type: 1 tissue, 2 colour flow, 3 and 4 spectral Doppler; 0 where it is not stated.
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
        frames: number of frames as stated; 1 where it is not stated.
        height, width: px.
        regions: the stated ultrasound regions, in the order of the file.
        frame_rate: 1/s; the mean where intervals differ, None where it is not stated.
    """

    frames: int
    height: int
    width: int
    regions: tuple[Region, ...]
    frame_rate: float | None

    @property
    def is_ultrasound(self) -> bool:
        """Says whether the file states that it is an ultrasound picture, with or without regions."""
        return False


def check_size(frames: int, height: int, width: int) -> None:
    """Refuses stated sizes that are too large, before memory is taken.

    Raises:
        Refusal: `unsupported_pixels`, `unreadable`.
    """
    if not (0 < height <= MAX_EDGE_PX and 0 < width <= MAX_EDGE_PX):
        raise Refusal("unsupported_pixels", f"image of {width} x {height} px, limit {MAX_EDGE_PX} px an edge")
    if not 0 < frames <= _MAX_FRAMES:
        raise Refusal("unreadable", f"{frames} frames stated, limit {_MAX_FRAMES}")
