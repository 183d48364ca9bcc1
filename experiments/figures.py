"""The page's figures: arms, noise, risk against coverage, halves. To be rendered within `figure_style.styled`."""

from collections.abc import Iterator
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure

from echoingecg.common.figure_style import BLUE, GREEN, GREY, INK, MUTED, VERMILION, new_figure, set_title
from echoingecg.evaluation.metrics.selective import selective_risk, threshold_nearness
from experiments.arms import SAYS, STUDIED
from experiments.measures import doubts
from experiments.noise import KINDS, LEVELS
from experiments.results import Results

_LABEL_WIDTH = 34  # characters
_COVERAGES = np.linspace(0.02, 1, 50)


def draw(results: Results) -> Iterator[tuple[str, str, Figure]]:
    """Name, what is seen, figure; those that the results allow."""
    if results.by_seed("both", "zero_shot_student.auroc"):
        yield "arms", "Zero-shot balanced accuracy of every arm, a dot a seed", arms(results)
        yield "noise", "Change of the predicted log-variance with added noise", noise(results)
        yield "risk", "Error rate among the ECGs kept, by what ranks them", risk(results)
        yield "halves", "Balanced accuracy of the halves by variance", halves(results)


def arms(results: Results) -> Figure:
    """Zero-shot balanced accuracy: a dot a seed, the mean with its interval."""
    rows = [
        (family, tower)
        for family in SAYS
        for tower in ("student", "teacher")
        if results.by_seed(family, f"zero_shot_{tower}.balanced_accuracy")
        and any(one is not None for one in results.by_seed(family, f"zero_shot_{tower}.balanced_accuracy").values())
    ]
    figure = new_figure(0.9 + 0.42 * len(rows))
    axes = figure.add_subplot()
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    for place, (family, tower) in enumerate(rows):
        measure = f"zero_shot_{tower}.balanced_accuracy"
        colour = BLUE if tower == "student" else VERMILION
        values = [one for one in results.by_seed(family, measure).values() if one is not None]
        axes.plot(values, [place] * len(values), "o", color=colour, alpha=0.35, markersize=5, markeredgewidth=0)
        found = results.mean(family, measure)
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [place, place], color=colour, solid_capstyle="round")
        axes.plot(float(np.mean(values)), place, "|", color=INK, markersize=12, markeredgewidth=2)
    names = [f"{fill(SAYS[family], _LABEL_WIDTH)}\n({tower}'s texts)" for family, tower in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=7.5)
    axes.set(xlim=(0.3, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="Balanced accuracy")
    return figure


def noise(results: Results) -> Figure:
    """Mean log-variance less that of the clean ECGs, over the noise's standard deviation; a panel a kind."""
    figure = new_figure(5.6)
    panels = figure.subplots(len(KINDS), 1, sharex=True)
    colours = (BLUE, VERMILION, GREEN, INK)
    for axes, kind in zip(panels, KINDS, strict=True):
        axes.axhline(0, color=MUTED, linewidth=1)
        for name, colour in zip(STUDIED, colours, strict=True):
            curves = np.array([one["noise"][kind] for one in results.of(name)])
            if curves.size:
                axes.plot(LEVELS, (curves - curves[:, :1]).mean(axis=0), "o-", color=colour, label=SAYS[name])
        axes.set_ylabel("Change of log-variance")
        set_title(axes, {"muscle": "White muscle noise", "wander": "Baseline wander"}[kind])
    panels[-1].set_xlabel("Standard deviation of the noise, mV")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", fontsize=8)
    return figure


def risk(results: Results) -> Figure:
    """Error rate among the least doubtful cases, mean over seeds, for each way to rank them."""
    figure = new_figure(4.8)
    axes = figure.add_subplot()
    curves: dict[str, list[np.ndarray]] = {}

    def keep(name: str, error: np.ndarray, doubt: np.ndarray) -> None:
        coverage = np.arange(1, len(error) + 1) / len(error)
        curves.setdefault(name, []).append(np.interp(_COVERAGES, coverage, selective_risk(error, doubt)))

    for one in results.of("both"):
        label = np.array(one["label"])
        zero_shot, predictive = one["zero_shot"]["student"], one["predictive"]
        for protocol, of_protocol in (("zero-shot", zero_shot), ("expected echo", predictive)):
            score, threshold = np.array(of_protocol["score"]), of_protocol["threshold"]
            error = ((score >= threshold) != label).astype(float)
            keep(f"{protocol}, by distance to the threshold", error, threshold_nearness(score, threshold))
            if protocol == "zero-shot":
                keep("zero-shot, by published variance", error, np.array(one["uncertainty"]))
                keep("zero-shot, in random order", error, np.zeros(len(error)))
            else:
                keep("expected echo, by doubt", error, doubts(predictive)[0])
    for (name, found), colour in zip(curves.items(), (VERMILION, BLUE, GREY, INK, GREEN), strict=True):
        axes.plot(_COVERAGES, np.mean(found, axis=0), color=colour, label=name[0].upper() + name[1:])
    axes.set(xlim=(0, 1), ylim=(0, None), xlabel="Share of test ECGs kept (most certain first)", ylabel="Error rate")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", fontsize=8)
    return figure


def halves(results: Results) -> Figure:
    """Balanced accuracy of the low- and the high-variance half with intervals, class counts below."""
    figure = new_figure(4.2)
    axes = figure.add_subplot()
    names = [name for name in STUDIED if results.by_seed(name, "variance.rho_error")]
    for side, shift, colour in (("low", -0.12, BLUE), ("high", 0.12, VERMILION)):
        for place, name in enumerate(names):
            found = results.mean(name, f"variance.{side}_balanced_accuracy")
            if found.mean is None:
                continue
            if found.low is not None and found.high is not None:
                axes.plot([place + shift] * 2, [found.low, found.high], color=colour, solid_capstyle="round")
            label = f"{side.capitalize()}-variance half" if place == 0 else None
            axes.plot(place + shift, found.mean, "o", color=colour, markersize=7, label=label)
    counts = [
        [results.mean(name, f"variance.{side}_positives").mean or 0 for side in ("low", "high")] for name in names
    ]
    ticks = [
        f"{name.replace('_', ' ')}\n{low:.0f} | {high:.0f}" for name, (low, high) in zip(names, counts, strict=True)
    ]
    axes.set_xticks(range(len(names)), ticks, fontsize=7.5)
    axes.grid(axis="x", visible=False)
    axes.set(ylabel="Balanced accuracy", xlabel="Below: reduced LVEF in the low | high half")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure
