"""The page that a cardiologist knows: 25 mm/s, 10 mm/mV, three rows of four leads and lead II beneath.

Drawn to scale in millimetres. Nothing on it names a patient or a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_contracts.conventions import LEADS, SAMPLES, SAMPLING_FREQUENCY
from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from echoingecg.common.figure_style import INK, rendered, styled
from echoingecg.ecg import beats, process
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import NOTHING_STATED, Stated, arrange
from echoingecg.ecg.quality import finding_names, recorded_samples
from echoingecg.recipe import EcgSettings

_LEAD_ROWS = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",))
_COLUMN_SECONDS = 2.5  # of each lead in the upper three rows
_MM_PER_SECOND, _MM_PER_MV = 25.0, 10.0
_MM_PER_INCH = 25.4
# The page's parts, mm.
_LEFT, _RIGHT, _HEAD, _ROW, _FOOT = 15.0, 5.0, 12.0, 30.0, 5.0
_WIDTH = _LEFT + 4 * _COLUMN_SECONDS * _MM_PER_SECOND + _RIGHT
_HEIGHT = _HEAD + 4 * _ROW + _FOOT
_PULSE = 5.0  # width of the calibration pulse, 0.2 s
_FINE, _COARSE, _TRACE = "#f6dcdc", "#e8abab", INK


@dataclass(frozen=True)
class Page:
    """What one page shows.

    Attributes:
        signal: float (12, time), mV, leads in the order of data_contracts.conventions.LEADS.
        sampling_frequency: Hz.
        heading: one line.
        note: findings, one line.
    """

    signal: np.ndarray
    sampling_frequency: float
    heading: str
    note: str = ""


def draw(pages: Sequence[Page], dpi: int = 110, kind: str = "png") -> bytes:
    """Draws the pages beneath each other as `png`, `svg` or `pdf`; equal pages give equal bytes."""
    figure = Figure(figsize=(_WIDTH / _MM_PER_INCH, len(pages) * _HEIGHT / _MM_PER_INCH), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    with styled():
        for number, page in enumerate(reversed(pages)):
            axes = figure.add_axes((0, number / len(pages), 1, 1 / len(pages)))
            _draw_page(axes, page)
        return rendered(figure, kind)


def pages_of_file(path: Path, settings: EcgSettings, stated: Stated = NOTHING_STATED) -> list[Page]:
    """A recording before and after filtering: the window that the recipe would choose.

    Args:
        path: see echoingecg.ecg.process.load.
        settings: the recipe's section `ecg`; findings that it refuses are shown all the same.
        stated: what the file may lack.

    Raises:
        Refusal: it cannot be read or filtered.
        OSError: the file cannot be read.
    """
    recording = decode(path, stated.unit, stated.sampling_frequency, stated.leads)
    stored, rate = arrange(recording, settings.lead_sets), recording.sampling_frequency
    window = process.best_window(stored, rate, settings, recording.heart_rate)
    raw = stored[:, window.start : window.start + int(np.ceil(SAMPLES / SAMPLING_FREQUENCY * rate))]
    source = f"{recording.format}, {rate:g} Hz, {stored.shape[1] / rate:.1f} s"
    source += f", from {window.start / rate:g} s" if window.start else ""
    recorded = recorded_samples(raw.shape[1], rate)
    return [
        Page(raw - np.nanmedian(raw, axis=1, keepdims=True), rate, f"As recorded, level removed: {source}"),
        filtered_page(window.signal, window.quality, window.findings, settings, recorded),
    ]


def filtered_page(
    signal: np.ndarray, quality: np.ndarray, findings: int, settings: EcgSettings, recorded: int = SAMPLES
) -> Page:
    """A page of a processed ECG, with its rate and what was found.

    Args:
        signal: float32 (12, 1000), mV at 100 Hz.
        quality: uint16 (12,), bit mask of QUALITY_FLAGS.
        findings: bit mask of RECORD_FLAGS.
        settings: the band to name.
        recorded: samples that are recorded, for the rate.
    """
    rate = float(beats.heart_rate(beats.find_beats(beats.slope_energy(signal[:, :recorded]))))
    heart = "no rate" if findings & RECORD_FLAGS["no_qrs"] or not rate else f"{rate:.0f}/min"
    return Page(
        signal,
        SAMPLING_FREQUENCY,
        f"Filtered {settings.band_low:g} to {settings.band_high:g} Hz, {SAMPLING_FREQUENCY:g} Hz: {heart}",
        findings_text(quality, findings),
    )


def findings_text(quality: np.ndarray, findings: int) -> str:
    """The findings in words, for example `limb_leads; mains: I, III`, or that nothing was found."""
    texts = list(finding_names(findings, RECORD_FLAGS))
    for name, bit in QUALITY_FLAGS.items():
        if leads := [lead for lead, mask in zip(LEADS, quality.tolist(), strict=True) if mask & bit]:
            texts.append(f"{name}: {', '.join(leads)}")
    return "; ".join(texts) or "nothing found"


def _draw_page(axes: Axes, page: Page) -> None:
    axes.set(xlim=(0, _WIDTH), ylim=(0, _HEIGHT))
    axes.set_axis_off()
    top = _HEIGHT - _HEAD
    _draw_grid(axes, top)
    axes.text(_LEFT, _HEIGHT - 5, page.heading, va="center", fontsize=9, weight="bold")
    axes.text(_LEFT, _HEIGHT - 9.5, page.note, va="center", fontsize=8)
    axes.text(_WIDTH - _RIGHT, _HEIGHT - 5, "25 mm/s, 10 mm/mV", va="center", ha="right", fontsize=8)
    for row, leads in enumerate(_LEAD_ROWS):
        middle = top - (row + 0.5) * _ROW
        _draw_pulse(axes, middle)
        for column, lead in enumerate(leads):
            seconds = 4 * _COLUMN_SECONDS / len(leads)
            _draw_lead(axes, page, lead, column * seconds, seconds, middle)


def _draw_grid(axes: Axes, top: float) -> None:
    for step, colour, width in ((1, _FINE, 0.4), (5, _COARSE, 0.6)):
        axes.vlines(np.arange(0, _WIDTH + 0.1, step), _FOOT, top, colors=colour, linewidth=width, zorder=0)
        axes.hlines(np.arange(_FOOT, top + 0.1, step), 0, _WIDTH, colors=colour, linewidth=width, zorder=0)


def _draw_pulse(axes: Axes, middle: float) -> None:
    x = np.array([0, 2.5, 2.5, 2.5 + _PULSE, 2.5 + _PULSE, 5 + _PULSE]) + 1
    axes.plot(x, middle + _MM_PER_MV * np.array([0, 0, 1, 1, 0, 0]), color=_TRACE, linewidth=0.9)


def _draw_lead(axes: Axes, page: Page, lead: str, start: float, seconds: float, middle: float) -> None:
    """Draws one lead from `start`, s; what leaves its row by more than another row's height is cut off."""
    first, last = (round(time * page.sampling_frequency) for time in (start, start + seconds))
    values = page.signal[LEADS.index(lead), first : last + 1]
    x = _LEFT + (first + np.arange(len(values))) / page.sampling_frequency * _MM_PER_SECOND
    left = _LEFT + start * _MM_PER_SECOND
    axes.plot(x, middle + np.clip(_MM_PER_MV * values, -1.5 * _ROW, 1.5 * _ROW), color=_TRACE, linewidth=0.8)
    axes.plot([left] * 2, [middle - 4, middle + 4], color=_TRACE, linewidth=0.5)
    axes.text(left + 1.5, middle + 0.36 * _ROW, lead, fontsize=8, weight="bold", va="center")
