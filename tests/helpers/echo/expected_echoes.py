"""What every real echo file must give, set down from its attributes and its picture before any decoder ran.

A line a file: folder and name, frames, height and width in px, frames a second (- where none is stated), the region
as top, bottom, left, right, halved where it is stated for a picture
of twice the size; or the reason of its refusal. `shared` is the folder of recordings, `pydicom` that package.
"""

from dataclasses import dataclass

_TABLE = """
shared pydicom/examples_ybr_color.dcm       30 240 320 30.0003   16 207 42 298
shared pydicom/color3d_jpeg_baseline.dcm   120 480 640 30.0003   31 415 84 596
shared go-dicom/I_000003.dcm                17 430 480 14.9254    4 354 42 439
shared go-dicom/I_000007.dcm                10 288 384 25.0000    0 288 0 384
shared go-dicom/I_000009.dcm                10 288 384 25.0000    0 288 0 384
shared go-dicom/I_000027.dcm                10 288 384 39.7058    0 288 0 384
shared go-dicom/I_000034.dcm               not_a_cine
pydicom examples_ybr_color.dcm              30 240 320 30.0003   16 207 42 298
pydicom examples_rgb_color.dcm             not_a_cine
pydicom examples_palette.dcm               not_a_cine
pydicom examples_jpeg2k.dcm                not_a_cine
pydicom ExplVR_BigEnd.dcm                  unsupported_pixels
pydicom image_dfl.dcm                      unsupported_pixels
pydicom SC_rgb_rle_2frame.dcm              no_region
pydicom SC_rgb_rle_16bit_2frame.dcm        unsupported_pixels
pydicom waveform_ecg.dcm                   no_pixel_data
pydicom test-SR.dcm                        no_pixel_data
pydicom rtplan.dcm                         no_pixel_data
pydicom MR_truncated.dcm                   unsupported_pixels
pydicom no_meta.dcm                        unknown_format
pydicom README.txt                         unknown_format
"""


@dataclass(frozen=True)
class Expected:
    """A row: a clip with its facts, or a refusal's reason."""

    folder: str
    name: str
    reason: str = ""
    frames: int = 0
    height: int = 0
    width: int = 0
    frame_rate: float | None = None
    box: tuple[int, ...] = ()


def _row(line: str) -> Expected:
    folder, name, *facts = line.split()
    if len(facts) == 1:
        return Expected(folder, name, reason=facts[0])
    frames, height, width, rate, *box = facts
    frame_rate = None if rate == "-" else float(rate)
    return Expected(folder, name, "", int(frames), int(height), int(width), frame_rate, tuple(map(int, box)))


EXPECTED = tuple(_row(line) for line in _TABLE.strip().splitlines())
CLIPS = tuple(one for one in EXPECTED if not one.reason)
