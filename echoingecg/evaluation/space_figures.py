"""Figures of the shared space: how sure the student is, and where ECGs and echo studies lie."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from echoingecg.common.figure_style import BLUE, CLASS_COLOURS, GREEN, INK, MUTED, new_figure, set_title
from echoingecg.evaluation.report.results import Answered

_BINS: Final = 30
_MOST: Final = 2000  # points of a kind: more hide each other
_UNKNOWN: Final = "no label"


def uncertainty_histogram(table: pa.Table) -> Figure:
    """Mean log-variance of the ECGs of every split, each split as a share of itself.

    Args:
        table: evaluation_space.UNCERTAINTY; holds a test ECG.
    """
    figure = new_figure(4.4)
    axes = figure.add_subplot()
    of_split = {
        side: table.filter(pc.equal(table["split"], side))["mean_log_var"].to_numpy()
        for side in ("test", "train", "validation")
    }
    values = np.concatenate(list(of_split.values()))
    margin = 0.02 * float(np.ptp(values)) or 0.5
    edges = np.linspace(values.min() - margin, values.max() + margin, _BINS + 1)
    looks = {"test": (BLUE, True, "-"), "train": (INK, False, "-"), "validation": (GREEN, False, "--")}
    for side, of in of_split.items():
        if not len(of):
            continue
        colour, filled, line = looks[side]
        share = np.histogram(of, edges)[0] / len(of)
        name = f"{side} ({len(of):,} ECGs)"
        axes.stairs(share, edges, fill=filled, color=colour, alpha=0.5 if filled else 1, linestyle=line, label=name)
    middle = float(np.median(of_split["test"]))
    axes.axvline(middle, color=MUTED, linewidth=1.5, linestyle=":", label="median of the test split: parts the halves")
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, None), ylabel="Share of the split's ECGs")
    axes.set_xlabel("Mean log-variance\n← more certain        less certain →")
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    set_title(axes, "Uncertainty of every ECG")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def embedding_map(rows: Sequence[dict[str, Any]], of: Answered | None) -> Figure:
    """Test ECGs and their echo studies on the plane on which they differ most.

    Args:
        rows: of evaluation.EMBEDDING_MAP; at least one.
        of: gives the ECGs their colour by label; None where no question was answered.
    """
    figure = new_figure(5.2)
    axes = figure.add_subplot()
    label = dict(zip(of.record_id.tolist(), of.label.tolist(), strict=True)) if of else {}
    echo = [(row["x"], row["y"]) for row in rows if row["modality"] == "echo"]
    kinds: dict[Any, list[tuple[float, float]]] = {0: [], 1: [], _UNKNOWN: []}
    for row in rows:
        if row["modality"] == "ecg":
            kinds[label.get(row["name"], _UNKNOWN)].append((row["x"], row["y"]))
    x, y = np.array(echo[:_MOST]).reshape(-1, 2).T
    axes.scatter(x, y, s=26, marker="x", color=MUTED, linewidths=1, label=f"echo study ({len(echo):,})")
    for kind, points in kinds.items():
        if points:
            name = f"ECG ({len(points):,})" if of is None else f"ECG, label {kind} ({len(points):,})"
            name = name.replace(f"label {_UNKNOWN}", _UNKNOWN)
            x, y = np.array(points[:_MOST]).T
            colour = BLUE if of is None else CLASS_COLOURS.get(kind, GREEN)
            axes.scatter(x, y, s=20, color=colour, edgecolors="white", linewidths=0.4, label=name)
    axes.set(xlabel="First principal component", ylabel="Second principal component")
    set_title(axes, of.endpoint if of else "Test split")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure
