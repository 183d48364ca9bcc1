"""Style shared by all figures, and PNG bytes that depend on the drawing alone."""

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import font_manager, style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#1f2933"
MUTED = "#66727f"
GRID = "#e3e7eb"
# Okabe and Ito's palette: told apart with any colour vision.
BLUE = "#0072b2"
VERMILION = "#d55e00"
GREEN = "#009e73"
PURPLE = "#8a3f8f"
GREY = "#a9b4bf"

PROTOCOL_COLOURS = {"zero_shot": BLUE, "zero_shot_teacher": GREEN, "linear_probe": VERMILION}
PROTOCOL_MARKERS = {"zero_shot": "o", "zero_shot_teacher": "D", "linear_probe": "s"}
CLASS_COLOURS = {0: GREY, 1: PURPLE}

WIDTH = 4.9  # inches: narrow, so that labels stay readable on a phone
DPI = 170

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in an endpoint's name is a dollar sign
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 2,
}


@contextmanager
def styled() -> Iterator[None]:
    """Figures made and rendered inside look the same whatever the user's matplotlibrc says."""
    with style.context(_STYLE, after_reset=True):
        yield


def new_figure(height: float) -> Figure:
    """An empty figure of the common width; `height` in inches."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The same drawing gives the same bytes: no date, no software version."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def set_title(axes: Axes, text: str) -> None:
    """A title on as many lines as it needs."""
    axes.set_title("\n".join(textwrap.wrap(drawable(text), 44)) or " ")


def drawable(text: str) -> str:
    """The text with a question mark for every character that the font lacks."""
    known = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    return "".join(letter if ord(letter) in known else "?" for letter in " ".join(text.split()))
