"""What the ultrasound tests share besides fixtures."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset

WriteClip = Callable[..., Path]
PACKAGED = Path(pydicom.__file__).parent / "data/test_files"


def jpeg(frame: np.ndarray, form: str = "JPEG", **options: object) -> bytes:
    """A frame as Pillow writes it."""
    file = BytesIO()
    Image.fromarray(frame).save(file, form, **options)
    return file.getvalue()


def video(path: Path, frames: np.ndarray, codec: str, rate: float = 25.0) -> Path:
    """Frames, uint8 (frame, height, width, 3) in RGB, as FFmpeg writes them; the ending names the container."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), rate, frames.shape[2:0:-1])
    assert writer.isOpened()
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def region(spatial_format: int, left: int, top: int, right: int, bottom: int) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat = spatial_format
    item.RegionDataType = 1
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    return item
