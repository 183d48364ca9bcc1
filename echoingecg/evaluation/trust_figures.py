"""Figures of one endpoint that tell where to trust it, drawn from the evaluation's tables."""

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from echoingecg.common.figure_style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MUTED,
    PROTOCOL_COLOURS,
    VERMILION,
    new_figure,
    set_title,
)
from echoingecg.evaluation.answers import MEAN_LOG_VAR, SCORE_DISTANCE
from echoingecg.evaluation.curve_rows import RAW
from echoingecg.evaluation.words import protocol_name

_CALIBRATIONS: Final = (
    (RAW, "Score as it is", BLUE),
    ("platt", "After Platt", VERMILION),
    ("isotonic", "After isotonic", GREEN),
)
_DOUBTS: Final = ((MEAN_LOG_VAR, "variance", "-"), (SCORE_DISTANCE, "distance to the threshold", "--"))


def reliability(endpoint: str, table: pa.Table) -> Figure:
    """Share with label 1 against the predicted probability, a panel a protocol, over the ECGs in each bin of the score.

    Args:
        endpoint: name.
        table: evaluation.RELIABILITY; holds bins of the endpoint.
    """
    rows = table.filter(pc.equal(table["endpoint"], endpoint)).to_pylist()
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    figure = new_figure(0.9 + 3.6 * len(protocols))
    heights = [3, 1] * len(protocols)
    panels = figure.subplots(2 * len(protocols), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, counts, protocol in zip(panels[::2], panels[1::2], protocols, strict=True):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label="Perfectly calibrated")
        for calibration, name, colour in _CALIBRATIONS:
            bins = [row for row in rows if row["protocol"] == protocol and row["calibration"] == calibration]
            predicted = [row["mean_score"] for row in bins]
            true = [row["positives"] / row["records"] for row in bins]
            most = max((row["records"] for row in bins), default=1)
            area = [12 + 130 * row["records"] / most for row in bins]
            axes.plot(predicted, true, color=colour, linewidth=1.2, label=name if bins else None)
            axes.scatter(predicted, true, s=area, color=colour, alpha=0.7, linewidths=0, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="Share with label 1")
        axes.text(1.0, 1.03, protocol_name(protocol), transform=axes.transAxes, ha="right", color=MUTED)
        _bin_counts(counts, [row for row in rows if row["protocol"] == protocol and row["calibration"] == RAW])
    panels[-1].set_xlabel("Predicted probability (mean of the bin)")
    set_title(panels[0], endpoint)
    panels[0].title.set_y(1.06)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def _bin_counts(axes: Axes, bins: list[dict[str, Any]]) -> None:
    """Bars of the ECGs in each bin of the score as it is, with their number."""
    low, width = [row["low"] for row in bins], [row["high"] - row["low"] for row in bins]
    drawn = axes.bar(low, [row["records"] for row in bins], width=width, align="edge", color=GREY, edgecolor="white")
    axes.bar_label(drawn, [f"{row['records']:,}" for row in bins], padding=1, fontsize=8, color=INK)
    axes.set(ylim=(0, 1.35 * max((row["records"] for row in bins), default=1)), ylabel="ECGs", yticks=[])
    axes.grid(visible=False)


def risk_coverage(endpoint: str, table: pa.Table) -> Figure:
    """Error rate among the ECGs kept, for each protocol and each way to rank them.

    Args:
        endpoint: name.
        table: evaluation.RISK_COVERAGE; holds points of the endpoint.
    """
    rows = table.filter(pc.equal(table["endpoint"], endpoint)).to_pylist()
    figure = new_figure(4.4)
    axes = figure.add_subplot()
    for at, protocol in enumerate(dict.fromkeys(row["protocol"] for row in rows)):
        colour = PROTOCOL_COLOURS[protocol]
        for doubt, name, line in _DOUBTS:
            points = [row for row in rows if row["protocol"] == protocol and row["doubt"] == doubt]
            label = f"{protocol_name(protocol)}, by {name}"
            axes.plot(
                [row["coverage"] for row in points],
                [row["risk"] for row in points],
                color=colour,
                linestyle=line,
                linewidth=4 - at,  # the first ones wider, so that curves which lie on each other are all seen
                label=label,
            )
    axes.set(xlim=(0, 1), ylim=(0, None), ylabel="Error rate among those kept")
    axes.set_xlabel("Share of test ECGs kept, the least doubtful first")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    set_title(axes, endpoint)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left")
    return figure
