"""The style that all figures share, and PNG bytes that depend only on the drawing."""

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
# Palette of Okabe and Ito: readable with every kind of colour vision.
BLUE = "#0072b2"
VERMILION = "#d55e00"
GREEN = "#009e73"
PURPLE = "#8a3f8f"
GREY = "#a9b4bf"

PROTOCOL_COLOURS = {
    "zero_shot": BLUE, "zero_shot_teacher": GREEN, "expected_echo": PURPLE, "linear_probe": VERMILION
}  # fmt: skip
PROTOCOL_MARKERS = {"zero_shot": "o", "zero_shot_teacher": "D", "expected_echo": "^", "linear_probe": "s"}
PROTOCOL_LINES = {"zero_shot": "-", "zero_shot_teacher": "--", "expected_echo": "-.", "linear_probe": ":"}
CLASS_COLOURS = {0: GREY, 1: PURPLE}

WIDTH_INCHES = 4.9  # narrow, so that labels stay readable on a phone
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
    "svg.hashsalt": "echoingecg",  # else its identifiers are random
}


@contextmanager
def styled() -> Iterator[None]:
    """Applies the shared style inside the block, whatever the user's matplotlibrc states."""
    with style.context(_STYLE, after_reset=True):
        yield


def new_figure(height: float) -> Figure:
    """Returns an empty figure of the common width; `height` in inches."""
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


# By the kind of file, what would differ between equal drawings: dates and versions of software.
_LEFT_OUT = {"png": ("Software",), "svg": ("Date",), "pdf": ("CreationDate", "Creator", "Producer")}


def png(figure: Figure) -> bytes:
    """Returns the figure as PNG. Equal drawings give equal bytes: no date, no software version."""
    return rendered(figure, "png")


def rendered(figure: Figure, kind: str) -> bytes:
    """Returns the figure as `png`, `svg` or `pdf`. Equal drawings give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=dict.fromkeys(_LEFT_OUT[kind]))
    return buffer.getvalue()


def set_title(axes: Axes, text: str) -> None:
    """Sets a title, on as many lines as it needs."""
    axes.set_title("\n".join(textwrap.wrap(drawable(text), 44)) or " ")


def drawable(text: str) -> str:
    """Returns the text on one line, with a question mark for every character that the font lacks."""
    known = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    return "".join(letter if ord(letter) in known else "?" for letter in " ".join(text.split()))
