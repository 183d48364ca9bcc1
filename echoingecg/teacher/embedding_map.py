"""Study targets on a plane: their two principal components, coloured by a measurement."""

from typing import Final

import numpy as np
from sklearn.decomposition import PCA

from echoingecg.common.figure_style import GREY, drawable, new_figure, png, set_title, styled

_FEWEST: Final = 3  # studies that span a plane
_COLOURS: Final = "viridis"  # told apart with any colour vision
_HEIGHT: Final = 3.9  # inches


def draw_map(mean: np.ndarray, values: np.ndarray, measurement: str, unit: str) -> bytes | None:
    """PNG of the map; None of fewer than three studies. The same arguments give the same bytes.

    Args:
        mean: float32 (study, dim), target means.
        values: float64 (study,), in `unit`; NaN where nothing was measured, drawn in grey.
        measurement: name of what was measured.
        unit: of the values.
    """
    if len(mean) < _FEWEST:
        return None
    components = PCA(2, svd_solver="full").fit(mean)
    x, y = components.transform(mean).T
    known = np.isfinite(values)
    with styled():
        figure = new_figure(_HEIGHT)
        axes = figure.add_subplot()
        axes.scatter(x[~known], y[~known], s=10, color=GREY, linewidths=0)
        dots = axes.scatter(x[known], y[known], s=14, c=values[known], cmap=_COLOURS, linewidths=0)
        if known.any():
            figure.colorbar(dots, label=drawable(f"{measurement} ({unit})" if unit else measurement))
        for name, share in zip(("x", "y"), components.explained_variance_ratio_, strict=True):
            axes.set(**{f"{name}label": f"component of {share:.0%} of the variance"})
        set_title(axes, f"{len(mean)} echo studies, {np.count_nonzero(known)} with {measurement}")
        return png(figure)
