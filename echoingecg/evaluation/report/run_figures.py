"""Figures of the whole run: retrieval, training, data flow. To be rendered within `canvas.styled`."""

import textwrap
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from echoingecg.common.figure_style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MUTED,
    PURPLE,
    VERMILION,
    drawable,
    new_figure,
    set_title,
)
from echoingecg.evaluation.flow import ECGS, ECHOES, Lane

_LANE_COLOURS: Final = {ECGS: BLUE, ECHOES: GREEN, "ecg_echo": BLUE, "ecg_text": GREEN, "labels": PURPLE}
_LOSSES: Final = (
    ("train_loss_ecg_echo", "ECG to echo, training", BLUE, "--"),
    ("validation_loss_ecg_echo", "ECG to echo, validation", BLUE, "-"),
    ("train_loss_ecg_text", "ECG to text, training", GREEN, "--"),
    ("validation_loss_ecg_text", "ECG to text, validation", GREEN, "-"),
)
_RECALLS: Final = (
    ("recall_at_5_ecg_to_echo", "ECG to echo study", BLUE, "-"),
    ("recall_at_5_echo_to_ecg", "echo study to ECG", VERMILION, "-"),
)


def retrieval_recall(rows: Sequence[dict[str, Any]]) -> Figure:
    """Recall at k as bars, chance beside it.

    Args:
        rows: of evaluation_space.RETRIEVAL, from ECG to echo study; at least one.
    """
    figure = new_figure(3.9)
    axes = figure.add_subplot()
    place = np.arange(len(rows))
    recall, chance = ([row[name] for row in rows] for name in ("recall", "chance"))
    bars = ((-0.2, recall, BLUE, "Student"), (0.2, chance, GREY, "Chance"))
    for shift, values, colour, name in bars:
        drawn = axes.bar(place + shift, values, width=0.38, color=colour, label=name)
        axes.bar_label(drawn, [f"{100 * value:.3g} %" for value in values], padding=3, fontsize=9.5)
    axes.set_xticks(place, [f"{row['k']} nearest" if row["k"] > 1 else "nearest" for row in rows])
    axes.grid(axis="x", visible=False)
    axes.set(ylim=(0, min(1.12, 1.25 * max(*recall, *chance))), ylabel="ECGs whose study is found")
    axes.set_xlabel("Where the ECG's own study is looked for")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    set_title(axes, f"{rows[0]['queries']:,} test ECGs, {rows[0]['gallery']:,} echo studies")
    axes.legend(loc="upper left", ncols=2)
    return figure


def training_history(history: pa.Table) -> Figure:
    """Losses and validation recall over the epochs; a line at the weights that were kept."""
    figure = new_figure(6.2)
    loss, recall = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _curves(loss, history, _LOSSES)
    _curves(recall, history, _RECALLS)
    best = [row["epoch"] for row in history.to_pylist() if row["best"]]
    for axes in (loss, recall):
        if best:
            name = f"weights kept: epoch {best[-1]}" if axes is loss else None
            axes.axvline(best[-1], color=MUTED, linewidth=1.2, linestyle=":", label=name)
        if axes.lines:
            axes.legend(loc="best")
    loss.set_ylabel("Loss")
    recall.set(xlabel="Epoch", ylabel="Recall at 5", ylim=(0, None))
    recall.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    recall.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    set_title(recall, "Retrieval on the validation split")
    set_title(loss, "Training of the student")
    return figure


def _curves(axes: Axes, history: pa.Table, curves: tuple[tuple[str, str, str, str], ...]) -> None:
    epoch = history["epoch"].to_numpy()
    for column, name, colour, line in curves:
        values = history[column].to_numpy(zero_copy_only=False).astype(float)
        if np.isfinite(values).any():
            axes.plot(epoch, values, color=colour, linestyle=line, label=name, marker="." if len(values) < 3 else "")


def data_flow(lanes: Sequence[Lane]) -> Figure:
    """What is left after every step: a panel a lane, a bar a step. Needs a lane."""
    sizes = [len(lane.steps) for lane in lanes]
    figure = new_figure(0.2 + 0.5 * len(sizes) + 0.54 * sum(sizes))
    panels = figure.subplots(len(sizes), 1, squeeze=False, height_ratios=sizes)[:, 0]
    for axes, lane in zip(panels, lanes, strict=True):
        most = max(step.kept for step in lane.steps) or 1
        for place, step in enumerate(lane.steps):
            axes.barh(place, step.kept, height=0.36, color=_LANE_COLOURS.get(lane.name, GREY))
            text = textwrap.shorten(drawable(step.says), 56, placeholder=" …")
            text += f" ({step.refused:,} refused)" if step.refused else ""
            axes.text(0, place - 0.28, text, va="bottom", fontsize=9.5)
            axes.text(most * 1.02, place, f"{step.kept:,}", va="center", fontsize=10, weight="bold", color=INK)
        axes.set(xlim=(0, most * 1.2), ylim=(len(lane.steps) - 0.6, -0.6))
        axes.set_axis_off()
        set_title(axes, lane.says)
    return figure
