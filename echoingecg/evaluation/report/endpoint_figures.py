"""Figures of one endpoint: ROC curves, scores, halves by certainty, errors, calibration, risk-coverage curves.

Every function returns a Figure; render it inside `figure_style.styled`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy.special import expit
from sklearn.metrics import roc_curve

from echoingecg.common import figure_style as style
from echoingecg.evaluation.data import names
from echoingecg.evaluation.metrics import classification, selective
from echoingecg.evaluation.report import wording
from echoingecg.evaluation.report.results import EndpointScores, GroupMetrics
from echoingecg.evaluation.tables.rows import MEAN_LOG_VAR, PREDICTIVE_DISTANCE, RAW, SCORE_DISTANCE

_STUDENT_COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.INK)
_STUDENT_MARKERS = ("o", "s", "^", "D", "v")
Groups = dict[tuple[str, str, str], GroupMetrics]


def roc(scores: EndpointScores, groups: Groups) -> Figure:
    """ROC curves on the test split, with a marker at the decision threshold. Needs both classes."""
    figure = style.new_figure(4.3 + 0.3 * len(scores.score))  # a line of the legend each
    axes = figure.add_subplot()
    label = scores.label
    axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1, linestyle=(0, (4, 4)), label="Chance, AUROC 0.50")
    for index, (protocol, score) in enumerate(scores.score.items()):
        colour = style.PROTOCOL_COLOURS[protocol]
        auroc = groups[scores.endpoint, protocol, selective.ALL].estimates[classification.AUROC]
        false_positive, sensitivity, _ = roc_curve(label, score)
        interval = wording.interval_text(auroc)
        name = f"{wording.protocol_name(protocol)}, AUROC {auroc.value:.2f}" + (f" ({interval})" if interval else "")
        # The first curves are wider, so that curves on top of each other stay visible.
        line = style.PROTOCOL_LINES[protocol]
        axes.plot(false_positive, sensitivity, color=colour, linestyle=line, linewidth=4 - 0.7 * index, label=name)
        called = scores.decision[protocol] == 1
        axes.plot(
            called[label == 0].mean(),
            called[label == 1].mean(),
            style.PROTOCOL_MARKERS[protocol],
            color=colour,
            markersize=9,
            markeredgecolor="white",
            markeredgewidth=1.5,
            clip_on=False,
            zorder=5,
        )
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="False positive rate (1 − specificity)", ylabel="Sensitivity")
    axes.set_box_aspect(0.82)
    style.set_title(axes, scores.endpoint)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left")
    return figure


def score_distribution(scores: EndpointScores) -> Figure:
    """Histogram of test scores by class on a log-odds axis, with the threshold; one panel for each protocol."""
    panels = len(scores.score)
    figure = style.new_figure(1.2 + 2.0 * panels)
    label = scores.label
    for index, (protocol, protocol_scores) in enumerate(scores.score.items()):
        axes = figure.add_subplot(panels, 1, index + 1)
        score = classification.log_odds(protocol_scores)
        threshold = float(classification.log_odds(np.array(scores.threshold[protocol])))
        low, high = min(score.min(), threshold), max(score.max(), threshold)
        margin = 0.03 * (high - low) or 0.5
        edges = np.linspace(low - margin, high + margin, 26)
        for value in (0, 1):
            of_class = score[label == value]
            share = np.histogram(of_class, edges)[0] / max(len(of_class), 1)
            name = f"Label {value} ({len(of_class)} ECGs)"
            axes.stairs(share, edges, fill=True, color=style.CLASS_COLOURS[value], alpha=0.6, label=name)
            axes.stairs(share, edges, color=style.CLASS_COLOURS[value], linewidth=1.2)
        axes.axvline(threshold, color=style.INK, linewidth=1.5, linestyle="--", label="Decision threshold")
        axes.set(xlim=(edges[0], edges[-1]), ylabel="Share of class")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        places = [tick for tick in MaxNLocator(4).tick_values(edges[0], edges[-1]) if edges[0] <= tick <= edges[-1]]
        axes.set_xticks(places, wording.probability_texts([float(expit(tick)) for tick in places]), fontsize=8.5)
        axes.text(1.0, 1.03, wording.protocol_name(protocol), transform=axes.transAxes, ha="right", color=style.MUTED)
        if index == 0:
            style.set_title(axes, scores.endpoint)
            axes.title.set_y(1.1)
        if index == panels - 1:
            axes.set_xlabel("Score of label 1, not calibrated (log-odds scale)")
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def uncertainty_halves(scores: EndpointScores, groups: Groups) -> Figure:
    """Balanced accuracy with intervals for all test ECGs and each half by certainty, with the class counts."""
    figure = style.new_figure(3.9 + 0.25 * len(scores.score))
    axes = figure.add_subplot()
    axes.axhline(0.5, color=style.MUTED, linewidth=1, linestyle=(0, (4, 4)))
    for index, protocol in enumerate(scores.score):
        shift = (index - (len(scores.score) - 1) / 2) * 0.28
        colour = style.PROTOCOL_COLOURS[protocol]
        marker = style.PROTOCOL_MARKERS[protocol]
        axes.plot([], [], marker, color=colour, markersize=8, label=wording.protocol_name(protocol))
        for place, group in enumerate(wording.GROUP_NAMES):
            estimate = groups[scores.endpoint, protocol, group].estimates[classification.BALANCED_ACCURACY]
            if estimate.value is None:
                continue
            if estimate.low is not None and estimate.high is not None:
                axes.plot([place + shift] * 2, [estimate.low, estimate.high], color=colour, solid_capstyle="round")
            axes.plot(place + shift, estimate.value, marker, color=colour, markersize=8)
            under = estimate.value if estimate.low is None else estimate.low
            axes.text(place + shift, under - 0.03, f"{estimate.value:.2f}", va="top", ha="center", fontsize=9)
    counts = [groups[scores.endpoint, next(iter(scores.score)), group] for group in wording.GROUP_NAMES]
    ticks = [
        f"{name}\n{count.positives} with label 1\n{count.negatives} with label 0"
        for name, count in zip(wording.GROUP_NAMES.values(), counts, strict=True)
    ]
    axes.set_xticks(range(len(ticks)), ticks, fontsize=9.5)
    axes.grid(axis="x", visible=False)
    axes.set(xlim=(-0.5, 2.6), ylim=(0, 1.02), ylabel="Balanced accuracy")
    style.set_title(axes, scores.endpoint)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left")
    return figure


def error_against_variance(scores: EndpointScores) -> Figure:
    """Error rate in quantile bins of uncertainty, with the share of positives in the same bins."""
    figure = style.new_figure(4.2 + 0.25 * len(scores.score))
    axes = figure.add_subplot()
    for index, (protocol, decision) in enumerate(scores.decision.items()):
        bins = selective.variance_bins(scores.uncertainty, scores.label, decision)
        place = np.arange(len(bins))
        if index == 0:
            positive_share = [variance_bin.positive_share for variance_bin in bins]
            axes.bar(place, positive_share, color=style.GREY, alpha=0.5, width=0.7, label="Share with label 1")
            axes.set_xticks(
                place,
                [
                    f"{variance_bin.uncertainty:.2f}\n{variance_bin.records} ECGs".replace("-", "−")
                    for variance_bin in bins
                ],
            )
        axes.plot(
            place,
            [variance_bin.error_rate for variance_bin in bins],
            color=style.PROTOCOL_COLOURS[protocol],
            marker=style.PROTOCOL_MARKERS[protocol],
            markersize=7,
            label=f"Error rate, {wording.protocol_name(protocol)}",
            clip_on=False,
        )
    axes.grid(axis="x", visible=False)
    axes.set(ylim=(0, None), ylabel="Share of the bin's ECGs")
    axes.set_xlabel("Mean log-variance of the bin\n← more certain        less certain →")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    style.set_title(axes, scores.endpoint)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left")
    return figure


_CALIBRATIONS = (
    (RAW, "Score as it is", style.BLUE, "-"),
    ("platt", "After Platt", style.VERMILION, "--"),
    ("isotonic", "After isotonic", style.GREEN, ":"),
)
_DOUBTS = (
    (PREDICTIVE_DISTANCE, "distance in predictive deviations", "-"),
    (SCORE_DISTANCE, "distance in log-odds", "--"),
    (MEAN_LOG_VAR, "PCME++ variance", ":"),
)


def reliability(endpoint: str, table: pa.Table) -> Figure:
    """Reliability diagram: share with label 1 against predicted probability; one panel for each protocol.

    Args:
        endpoint: name.
        table: evaluation.RELIABILITY; holds bins of the endpoint.
    """
    rows = table.filter(pc.equal(table["endpoint"], endpoint)).to_pylist()
    protocols = list(dict.fromkeys(row["protocol"] for row in rows))
    figure = style.new_figure(0.9 + 3.6 * len(protocols))
    heights = [3, 1] * len(protocols)
    panels = figure.subplots(2 * len(protocols), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, counts, protocol in zip(panels[::2], panels[1::2], protocols, strict=True):
        axes.plot([0, 1], [0, 1], color=style.MUTED, linewidth=1, linestyle=(0, (4, 4)), label="Perfectly calibrated")
        for calibration, name, colour, line in _CALIBRATIONS:
            bins = [row for row in rows if row["protocol"] == protocol and row["calibration"] == calibration]
            predicted = [row["mean_score"] for row in bins]
            true = [row["positives"] / row["records"] for row in bins]
            most = max((row["records"] for row in bins), default=1)
            area = [12 + 130 * row["records"] / most for row in bins]
            axes.plot(predicted, true, color=colour, linestyle=line, linewidth=1.4, label=name if bins else None)
            axes.scatter(predicted, true, s=area, color=colour, alpha=0.7, linewidths=0, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="Share with label 1")
        axes.text(1.0, 1.03, wording.protocol_name(protocol), transform=axes.transAxes, ha="right", color=style.MUTED)
        _bin_counts(counts, [row for row in rows if row["protocol"] == protocol and row["calibration"] == RAW])
    panels[-1].set_xlabel("Score or probability (mean of the bin)")
    style.set_title(panels[0], endpoint)
    panels[0].title.set_y(1.06)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def _bin_counts(axes: Axes, bins: list[dict[str, Any]]) -> None:
    """Bars with the number of ECGs in each bin of the uncalibrated score."""
    low, width = [row["low"] for row in bins], [row["high"] - row["low"] for row in bins]
    drawn = axes.bar(
        low, [row["records"] for row in bins], width=width, align="edge", color=style.GREY, edgecolor="white"
    )
    axes.bar_label(drawn, [f"{row['records']:,}" for row in bins], padding=1, fontsize=8, color=style.INK)
    axes.set(ylim=(0, 1.35 * max((row["records"] for row in bins), default=1)), ylabel="ECGs", yticks=[])
    axes.grid(visible=False)


def risk_coverage(endpoint: str, table: pa.Table) -> Figure:
    """Risk-coverage curves: error rate among the ECGs kept, for each protocol and each ranking.

    Args:
        endpoint: name.
        table: evaluation.RISK_COVERAGE; holds points of the endpoint.
    """
    rows = table.filter(pc.equal(table["endpoint"], endpoint)).to_pylist()
    figure = style.new_figure(4.4)
    axes = figure.add_subplot()
    for index, protocol in enumerate(dict.fromkeys(row["protocol"] for row in rows)):
        colour = style.PROTOCOL_COLOURS[protocol]
        for doubt, name, line in _DOUBTS:
            if doubt == PREDICTIVE_DISTANCE and protocol != names.EXPECTED_ECHO:
                continue  # without a predictive distribution it is the distance in log-odds
            points = [row for row in rows if row["protocol"] == protocol and row["doubt"] == doubt]
            label = f"{wording.protocol_name(protocol)}, by {name}"
            axes.plot(
                [row["coverage"] for row in points],
                [row["risk"] for row in points],
                color=colour,
                linestyle=line,
                linewidth=4 - 0.7 * index,  # wider at first, so that curves on top of each other stay visible
                label=label,
            )
    axes.set(xlim=(0, 1), ylim=(0, None), ylabel="Error rate among those kept")
    axes.set_xlabel("Share of test ECGs kept, the least doubtful first")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    style.set_title(axes, endpoint)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left")
    return figure


def students_compared(rows: Sequence[Mapping[str, Any]], metric: str) -> Figure:
    """Each student's metric at every endpoint, and its difference from the first student, both with 95 % intervals.

    Endpoints at which the metric has no value, as with one class, are left out.

    Args:
        rows: of echoingecg.evaluation.compare.compare_any.
        metric: to draw, such as `auroc`.
    """
    students = list(dict.fromkeys(row["student"] for row in rows))
    chosen = [row for row in rows if row["metric"] == metric and row["value"] is not None]
    endpoints = list(dict.fromkeys(row["endpoint"] for row in chosen))
    rows_each = len(students) + 1  # one is free between endpoints
    figure = style.new_figure(1.3 + 0.22 * len(students) + 0.3 * rows_each * len(endpoints))
    figure.set_size_inches(2 * style.WIDTH_INCHES, figure.get_figheight())
    panels = figure.subplots(1, 2, sharey=True)
    looks = [
        {
            "color": _STUDENT_COLOURS[index % len(_STUDENT_COLOURS)],
            "marker": _STUDENT_MARKERS[index % len(_STUDENT_MARKERS)],
        }
        for index in range(len(students))
    ]
    for axes, value, suffix in ((panels[0], "value", ""), (panels[1], "difference", "difference_")):
        for row in chosen:
            index = students.index(row["student"])
            place = endpoints.index(row["endpoint"]) * rows_each + index
            low, high = row[f"{suffix}low"], row[f"{suffix}high"]
            if low is not None:
                axes.plot([low, high], [place] * 2, color=looks[index]["color"], solid_capstyle="round")
            if row[value] is not None:
                axes.plot(row[value], place, markersize=8, linestyle="", clip_on=False, **looks[index])
    middles = [number * rows_each + (len(students) - 1) / 2 for number in range(len(endpoints))]
    panels[0].set_yticks(middles, [style.drawable(endpoint) for endpoint in endpoints])
    panels[0].set_ylim(rows_each * max(len(endpoints), 1) - 1, -1)
    panels[0].grid(axis="y", visible=False)
    panels[1].grid(axis="y", visible=False)
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(6))
    panels[0].set_xlabel(f"{wording.METRIC_NAMES[metric]}, 95 % interval")
    panels[1].axvline(0, color=style.MUTED, linewidth=1.2, linestyle=":")
    panels[1].set_xlabel(f"Difference from {style.drawable(students[0])}")
    for index, student in enumerate(students):
        panels[0].plot([], [], markersize=8, label=style.drawable(student), **looks[index])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure
