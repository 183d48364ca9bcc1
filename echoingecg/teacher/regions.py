"""Which part of the picture the teacher sees, from the regions that the file states."""

from dataclasses import replace

from echoingecg.common import Refusal
from echoingecg.recipe.stages import TeacherSettings
from echoingecg.teacher.decode.clip import Clip, Region

_TWO_DIMENSIONAL = 1  # Region Spatial Format, DICOM PS3.3 C.8.5.5.1.1
_STRIPS = {2: "M-mode", 3: "spectral Doppler"}
_MIN_EDGE_PX = 16  # a smaller region shows no heart
_LARGEST_DIVISOR = 8

Box = tuple[slice, slice]  # rows and columns
_NOWHERE = (slice(0, 0), slice(0, 0))


def teacher_region(clip: Clip, settings: TeacherSettings) -> Box:
    """Finds the region that the teacher sees: rows and columns, all of them within the picture.

    Args:
        clip: states its regions.
        settings: `region`: the largest two-dimensional one, or the first that the file lists, whatever it shows, as
            published (METHOD); `stale_region`: what becomes of regions that reach beyond the picture.

    Raises:
        Refusal: `no_region`, `stale_region`; for the largest also `not_a_cine`.
    """
    wanted = clip.regions[:1] if settings.region == "first" else _shown(clip)
    within = [_exclusive(region, clip) for region in wanted]
    if any(_is_beyond(region, clip) for region in within):
        within = _rescaled(within, clip, settings)
    if settings.region == "largest":
        return _two_dimensional(within, len(clip.regions))
    box = _box(within[0]) if within else _NOWHERE
    if min(edges(box)) < _MIN_EDGE_PX:
        raise Refusal("no_region", f"regions: {len(clip.regions)}, and the first has no {_MIN_EDGE_PX} px in the image")
    return box


def _shown(clip: Clip) -> list[Region]:
    """Lists the regions that decide: pictures and strips. Regions of a trace or of graphics do not."""
    return [region for region in clip.regions if region.spatial_format in (_TWO_DIMENSIONAL, *_STRIPS)]


def _exclusive(region: Region, clip: Clip) -> Region:
    """Moves a right or bottom edge that is one pixel beyond the picture: some writers count it as not belonging."""
    right, bottom = (
        limit - 1 if edge == limit else edge
        for edge, limit in ((region.right, clip.width), (region.bottom, clip.height))
    )
    return replace(region, right=right, bottom=bottom)


def _is_beyond(region: Region, clip: Clip) -> bool:
    return min(region.left, region.top) < 0 or region.right >= clip.width or region.bottom >= clip.height


def _rescaled(regions: list[Region], clip: Clip, settings: TeacherSettings) -> list[Region]:
    """Divides all regions by the least whole number with which they lie within the picture.

    Raises:
        Refusal: `stale_region`: the recipe does not want this, or no such number is likely.
    """
    first = next(region for region in regions if _is_beyond(region, clip))
    stated = (
        f"a region ({first.left}, {first.top})-({first.right}, {first.bottom}) is stated for a picture of "
        f"{clip.width} x {clip.height} px"
    )
    if settings.stale_region == "refuse":
        raise Refusal("stale_region", f"{stated}; teacher.stale_region=rescale divides it")
    divisors = range(2, _LARGEST_DIVISOR + 1) if all(min(region.left, region.top) >= 0 for region in regions) else ()
    for divisor in divisors:
        smaller = [
            replace(
                region,
                left=-(-region.left // divisor),
                top=-(-region.top // divisor),
                right=(region.right + 1) // divisor - 1,
                bottom=(region.bottom + 1) // divisor - 1,
            )
            for region in regions
        ]
        if not any(_is_beyond(region, clip) for region in smaller):
            return smaller
    raise Refusal("stale_region", f"{stated}; no division by a whole number up to {_LARGEST_DIVISOR} mends it")


def _two_dimensional(regions: list[Region], stated: int) -> Box:
    """Finds the largest two-dimensional region, the first of equals.

    Raises:
        Refusal: `not_a_cine` where an M-mode or Doppler strip is larger or alone; otherwise `no_region`.
    """
    boxes = [_box(region) for region in regions if region.spatial_format == _TWO_DIMENSIONAL]
    largest = max((box for box in boxes if min(edges(box)) >= _MIN_EDGE_PX), key=_area, default=_NOWHERE)
    strips = [region for region in regions if region.spatial_format in _STRIPS]
    if any(_area(_box(strip)) > _area(largest) for strip in strips):
        kinds = sorted({_STRIPS[strip.spatial_format] for strip in strips})
        raise Refusal("not_a_cine", f"{' and '.join(kinds)} over more of the picture than two dimensions")
    if largest == _NOWHERE:
        raise Refusal("no_region", f"regions: {stated}, two-dimensional within the image: 0")
    return largest


def _box(region: Region) -> Box:
    return slice(region.top, region.bottom + 1), slice(region.left, region.right + 1)


def edges(box: Box) -> tuple[int, int]:
    """Returns height and width of a box, px."""
    rows, columns = box
    return rows.stop - rows.start, columns.stop - columns.start


def _area(box: Box) -> int:
    height, width = edges(box)
    return max(height, 0) * max(width, 0)
