"""Figures of the whole run: training history, retrieval, uncertainty, map of embeddings, and the attrition chart.

The attrition chart shows how many ECGs and echo studies are left after each step, from the export to the test split.
Every function that draws returns a Figure; render it inside `figure_style.styled`.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from data_contracts.evaluation_details import QUESTION
from echoingecg.common import figure_style as style
from echoingecg.evaluation.protocols.stress import UNDISTURBED
from echoingecg.evaluation.report import wording
from echoingecg.evaluation.report.results import EndpointScores, EvaluationResults

ECGS = "ecgs"
ECHOES = "echoes"
_SERIES_TITLES = {
    ECGS: "ECGs, from the export to the answers",
    ECHOES: "Echo, from files to studies",
} | wording.PAIR_NAMES
# series, label of the step, stage, and name of the count in its manifest
_COUNTED = (
    (ECGS, "ECG recordings in the catalog", "catalog", "ecgs"),
    (ECGS, "usable signals of 10 s, filtered", "ecg", "records"),
    (ECHOES, "echo files in the catalog", "catalog", "echoes"),
    (ECHOES, "clips that the teacher could read", "teacher", "clips"),
    (ECHOES, "echo studies with a target", "teacher", "studies"),
)
_REFUSING = (("ecg", "records"), ("teacher", "clips"))  # steps where every refusal belongs to this series


@dataclass(frozen=True)
class AttritionStep:
    """Number kept after a step, and number refused there; None where a step refuses nothing."""

    label: str
    kept: int
    refused: int | None = None


@dataclass(frozen=True)
class AttritionSeries:
    """Steps that follow each other, with a title."""

    name: str
    title: str
    steps: tuple[AttritionStep, ...]


def attrition_series(results: EvaluationResults) -> list[AttritionSeries]:
    """Series of the chart, each with at least one step; counts of a missing artefact are left out."""
    steps: dict[str, list[AttritionStep]] = {ECGS: [], ECHOES: []}
    for name, label, stage, count in _COUNTED:
        facts = results.provenance["stages"].get(stage)
        if facts is not None and count in facts["counts"]:
            refused = facts["counts"].get("refused") if (stage, count) in _REFUSING else None
            steps[name].append(AttritionStep(label, facts["counts"][count], refused))
    if any(split_counts["ecgs"] for split_counts in results.cohort.values()):
        steps[ECGS] += _evaluated_steps(results)
    for row in results.provenance["filters"].to_pylist():
        steps.setdefault(row["pair"], []).append(AttritionStep(row["step"], row["kept"]))
    return [
        AttritionSeries(name, _SERIES_TITLES.get(name, name), tuple(series_steps))
        for name, series_steps in steps.items()
        if series_steps
    ]


def _evaluated_steps(results: EvaluationResults) -> Iterator[AttritionStep]:
    yield AttritionStep(
        "paired with an echo study", sum(split_counts["ecgs"] for split_counts in results.cohort.values())
    )
    yield AttritionStep("in the test split", results.cohort["test"]["ecgs"])
    for endpoint in results.settings.endpoints:
        records = results.labelled(QUESTION, endpoint.name)["test"]["records"]
        yield AttritionStep(f"evaluated, with a label for {endpoint.name}", records)


_SERIES_COLOURS = {
    ECGS: style.BLUE,
    ECHOES: style.GREEN,
    "split": style.VERMILION,
    "ecg_echo": style.BLUE,
    "ecg_text": style.GREEN,
    "labels": style.PURPLE,
}
_LOSSES = (
    ("train_loss_ecg_echo", "ECG to echo, training", style.BLUE, "--"),
    ("validation_loss_ecg_echo", "ECG to echo, validation", style.BLUE, "-"),
    ("train_loss_ecg_text", "ECG to text, training", style.GREEN, "--"),
    ("validation_loss_ecg_text", "ECG to text, validation", style.GREEN, "-"),
)
_RECALLS = (
    ("recall_at_5_ecg_to_echo", "ECG to echo study", style.BLUE, "-"),
    ("recall_at_5_echo_to_ecg", "echo study to ECG", style.VERMILION, "-"),
)


def retrieval_recall(rows: Sequence[dict[str, Any]]) -> Figure:
    """Recall at k as bars, next to chance.

    Args:
        rows: of evaluation_details.RETRIEVAL, from ECG to echo study; at least one.
    """
    figure = style.new_figure(3.9)
    axes = figure.add_subplot()
    place = np.arange(len(rows))
    recall, chance = ([row[name] for row in rows] for name in ("recall", "chance"))
    bars = ((-0.2, recall, style.BLUE, "Student"), (0.2, chance, style.GREY, "Chance"))
    for shift, values, colour, name in bars:
        drawn = axes.bar(place + shift, values, width=0.38, color=colour, label=name)
        axes.bar_label(drawn, [f"{100 * value:.3g} %" for value in values], padding=3, fontsize=9.5)
    axes.set_xticks(place, [f"{row['k']} nearest" if row["k"] > 1 else "nearest" for row in rows])
    axes.grid(axis="x", visible=False)
    axes.set(ylim=(0, min(1.12, 1.25 * max(*recall, *chance))), ylabel="ECGs whose study is found")
    axes.set_xlabel("Where the ECG's own study is looked for")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    style.set_title(axes, f"{rows[0]['queries']:,} test ECGs, {rows[0]['gallery']:,} echo studies")
    axes.legend(loc="upper left", ncols=2)
    return figure


def training_history(history: pa.Table) -> Figure:
    """Losses and validation recall over the epochs, with a line at the epoch whose weights were kept."""
    figure = style.new_figure(6.2)
    loss, recall = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _curves(loss, history, _LOSSES)
    _curves(recall, history, _RECALLS)
    best = [row["epoch"] for row in history.to_pylist() if row["best"]]
    for axes in (loss, recall):
        if best:
            name = f"weights kept: epoch {best[-1]}" if axes is loss else None
            axes.axvline(best[-1], color=style.MUTED, linewidth=1.2, linestyle=":", label=name)
        if axes.lines:
            axes.legend(loc="best")
    loss.set_ylabel("Loss")
    recall.set(xlabel="Epoch", ylabel="Recall at 5", ylim=(0, None))
    recall.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    recall.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    style.set_title(recall, "Retrieval on the validation split")
    style.set_title(loss, "Training of the student")
    return figure


def _curves(axes: Axes, history: pa.Table, curves: tuple[tuple[str, str, str, str], ...]) -> None:
    epoch = history["epoch"].to_numpy()
    for column, name, colour, line in curves:
        values = history[column].to_numpy(zero_copy_only=False).astype(float)
        if np.isfinite(values).any():
            axes.plot(epoch, values, color=colour, linestyle=line, label=name, marker="." if len(values) < 3 else "")


def attrition_chart(series: Sequence[AttritionSeries]) -> Figure:
    """Attrition chart: one panel for each series, one bar for each step. Needs at least one series."""
    sizes = [len(one_series.steps) for one_series in series]
    figure = style.new_figure(0.2 + 0.5 * len(sizes) + 0.54 * sum(sizes))
    panels = figure.subplots(len(sizes), 1, squeeze=False, height_ratios=sizes)[:, 0]
    for axes, one_series in zip(panels, series, strict=True):
        most = max(step.kept for step in one_series.steps) or 1
        for place, step in enumerate(one_series.steps):
            axes.barh(place, step.kept, height=0.36, color=_SERIES_COLOURS.get(one_series.name, style.GREY))
            text = textwrap.shorten(style.drawable(step.label), 56, placeholder=" …")
            text += f" ({step.refused:,} refused)" if step.refused else ""
            axes.text(0, place - 0.28, text, va="bottom", fontsize=9.5)
            axes.text(most * 1.02, place, f"{step.kept:,}", va="center", fontsize=10, weight="bold", color=style.INK)
        axes.set(xlim=(0, most * 1.2), ylim=(len(one_series.steps) - 0.6, -0.6))
        axes.set_axis_off()
        style.set_title(axes, one_series.title)
    return figure


def stress(endpoint: str, rows: Sequence[dict[str, Any]]) -> Figure:
    """Share of the test ECGs answered, and answered wrongly, by level of each disturbance.

    Args:
        endpoint: name of the question.
        rows: of evaluation_details.STRESS, of this question.
    """
    kinds = [kind for kind in dict.fromkeys(row["disturbance"] for row in rows) if kind != UNDISTURBED]
    start = [row for row in rows if row["disturbance"] == UNDISTURBED]
    lines = -(-len(kinds) // 2)
    figure = style.new_figure(1.0 + 1.05 * lines)
    panels = figure.subplots(lines, 2, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, kind in zip(panels, kinds, strict=False):
        of_kind = start + [row for row in rows if row["disturbance"] == kind]
        step = [row["step"] for row in of_kind]
        for name, label, colour, line in (
            ("answered", "Answered", style.BLUE, "o-"),
            ("wrong", "Answered wrongly", style.VERMILION, "s--"),
        ):
            axes.plot(step, [row[name] for row in of_kind], line, color=colour, markersize=4, label=label)
        axes.set(xlim=(-0.2, 5.2), ylim=(0, 1), xticks=range(6))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.text(0.98, 0.95, kind, transform=axes.transAxes, ha="right", va="top", fontsize=9, color=style.INK)
    for axes in panels[len(kinds) :]:
        axes.set_axis_off()
    for axes in panels[-2:]:
        axes.set_xlabel("Level, 0 as recorded", fontsize=9.5)
    figure.supylabel("Share of the test ECGs", fontsize=9.5)
    style.set_title(panels[0], endpoint)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


_BINS = 30
_MAX_POINTS = 2000  # points of one kind: more would hide each other
_UNKNOWN = "no label"


def uncertainty_histogram(table: pa.Table) -> Figure:
    """Histogram of the mean log-variance, each split as shares of its own ECGs.

    Args:
        table: evaluation_details.UNCERTAINTY; holds a test ECG.
    """
    figure = style.new_figure(4.4)
    axes = figure.add_subplot()
    of_split = {
        side: table.filter(pc.equal(table["split"], side))["mean_log_var"].to_numpy()
        for side in ("test", "train", "validation")
    }
    values = np.concatenate(list(of_split.values()))
    margin = 0.02 * float(np.ptp(values)) or 0.5
    edges = np.linspace(values.min() - margin, values.max() + margin, _BINS + 1)
    looks = {
        "test": (style.BLUE, True, "-"),
        "train": (style.INK, False, "-"),
        "validation": (style.GREEN, False, "--"),
    }
    for side, uncertainty in of_split.items():
        if not len(uncertainty):
            continue
        colour, filled, line = looks[side]
        share = np.histogram(uncertainty, edges)[0] / len(uncertainty)
        name = f"{side} ({len(uncertainty):,} ECGs)"
        axes.stairs(share, edges, fill=filled, color=colour, alpha=0.5 if filled else 1, linestyle=line, label=name)
    middle = float(np.median(of_split["test"]))
    axes.axvline(
        middle, color=style.MUTED, linewidth=1.5, linestyle=":", label="median of the test split, between the halves"
    )
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, None), ylabel="Share of the split's ECGs")
    axes.set_xlabel("Mean log-variance\n← more certain        less certain →")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    style.set_title(axes, "Uncertainty of every ECG")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def embedding_map(rows: Sequence[dict[str, Any]], scores: EndpointScores | None) -> Figure:
    """Test ECGs and their echo studies on the plane of their first two principal components.

    Args:
        rows: of evaluation_details.EMBEDDING_MAP; at least one.
        of: gives the ECGs their colour by label; None where no endpoint was evaluated.
    """
    figure = style.new_figure(5.2)
    axes = figure.add_subplot()
    label = dict(zip(scores.record_id.tolist(), scores.label.tolist(), strict=True)) if scores else {}
    echo = [(row["x"], row["y"]) for row in rows if row["modality"] == "echo"]
    kinds: dict[Any, list[tuple[float, float]]] = {0: [], 1: [], _UNKNOWN: []}
    for row in rows:
        if row["modality"] == "ecg":
            kinds[label.get(row["name"], _UNKNOWN)].append((row["x"], row["y"]))
    x, y = np.array(echo[:_MAX_POINTS]).reshape(-1, 2).T
    axes.scatter(x, y, s=26, marker="x", color=style.MUTED, linewidths=1, label=f"echo study ({len(echo):,})")
    for kind, points in kinds.items():
        if points:
            name = f"ECG ({len(points):,})" if scores is None else f"ECG, label {kind} ({len(points):,})"
            name = name.replace(f"label {_UNKNOWN}", _UNKNOWN)
            x, y = np.array(points[:_MAX_POINTS]).T
            colour = style.BLUE if scores is None else style.CLASS_COLOURS.get(kind, style.GREEN)
            axes.scatter(x, y, s=20, color=colour, edgecolors="white", linewidths=0.4, label=name)
    axes.set(xlabel="First principal component", ylabel="Second principal component")
    style.set_title(axes, scores.endpoint if scores else "Test split")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure
