"""Echo clips to square frames: ours against pydicom pixels + cv2 resize, on the clip that pydicom ships."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import pydicom
from pydicom.data import get_testdata_file
from pydicom.pixels import convert_color_space

from benchmarks.measure import Row, at_least, seconds
from echoingecg.common import hash_files
from echoingecg.recipe import ExecutionSettings, TeacherSettings
from tasks.base.workers import mapper
from tasks.ingest.blocks import SourceFile
from tasks.ingest.supervised import Limits, decode_clip

SIZE = 224
CLIPS = 24  # as many as fill two threads evenly
REPEATS = 5


def _plain(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    for frame in convert_color_space(dataset.pixel_array, "YBR_FULL_422", "RGB"):
        cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def _ours(files: list[SourceFile]) -> None:
    """As the teacher stage does it: each file hashed, its clip judged, cropped and masked."""
    with mapper(ExecutionSettings(), len(files), 2) as run:
        for one in run(partial(decode_clip, TeacherSettings(stale_region="rescale"), SIZE, Limits(120.0, 2048)), files):
            assert one.refusal is None


def rows() -> Iterator[Row]:
    """Clips of 30 frames of 320 x 240, JPEG baseline."""
    path = Path(str(get_testdata_file("examples_ybr_color.dcm")))
    files = [SourceFile(path, hash_files([path]), hash_files([path]))] * CLIPS
    yield Row(
        f"{CLIPS} DICOM JPEG clips to 224 px frames, cropped and masked, two threads",
        "pydicom pixels + convert_color_space + resize, no crop, no mask, one clip after another",
        seconds(lambda: [_plain(path) for _ in files], REPEATS),
        seconds(lambda: _ours(files), REPEATS),
        at_least(10),
    )
