"""An echo clip to square frames: ours against pydicom pixels + cv2 resize, on the clip that pydicom ships."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import pydicom
from pydicom.data import get_testdata_file
from pydicom.pixels import convert_color_space

from benchmarks.measure import Row, at_least, seconds
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.frames import read_clip

SIZE = 224


def _plain(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    for frame in convert_color_space(dataset.pixel_array, "YBR_FULL_422", "RGB"):
        cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def rows() -> Iterator[Row]:
    """30 frames of 320 x 240, JPEG baseline."""
    path = Path(str(get_testdata_file("examples_ybr_color.dcm")))
    settings = TeacherSettings()
    yield Row(
        "DICOM JPEG clip to 224 px frames, two threads",
        "pydicom pixels + convert_color_space + resize, no crop",
        seconds(lambda: _plain(path)),
        seconds(lambda: read_clip(path, settings, SIZE), 30),
        at_least(10),
    )
