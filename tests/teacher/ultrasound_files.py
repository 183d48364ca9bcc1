"""What the ultrasound tests share besides fixtures."""

from collections.abc import Callable
from pathlib import Path

from pydicom.dataset import Dataset

WriteClip = Callable[..., Path]


def region(spatial_format: int, left: int, top: int, right: int, bottom: int) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat = spatial_format
    item.RegionDataType = 1
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    return item
