"""docs/science.md and its figures, from the kept results alone."""

from collections import Counter
from pathlib import Path
from statistics import mean
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from echoingecg.common.figure_style import png, styled
from experiments import tables
from experiments.arms import REMEDIES, SAYS, SCRATCH, members
from experiments.baselines import RATES
from experiments.cases import DRAWS
from experiments.figures import draw
from experiments.findings import MET, claims
from experiments.noise import KINDS, LEVELS
from experiments.order import ENDPOINT, Order
from experiments.results import Results

MATCHES = ("own_mean", "own_spread", "same_spread")


def write_page(order: Order, results: Results, out: Path) -> None:
    """Writes the page, and its figures into the folder `images` beside it."""
    images = out.parent / "images"
    images.mkdir(parents=True, exist_ok=True)
    with styled():
        for name, _, figure in draw(results):
            (images / f"science_{name}.png").write_bytes(png(figure))
    out.write_text(render(order, results), encoding="utf-8")


def render(order: Order, results: Results) -> str:
    """The page as Markdown.

    Args:
        order: what was run.
        results: with at least the arm 'both' and the ceiling of one seed.
    """
    recipe = order.recipe(order.all_seeds[0])
    listed = claims(results)
    ceilings, boths = list(results.of("ceiling")), list(results.of("both"))
    tenths = [one for result in results.of("scratch") for one in result["few"]]
    counts: dict[str, Any] = {
        "cases": _range(sum(one["cases"].values()) for one in ceilings),
        "positives": _range(one["positives"]["test"] for one in ceilings),
        "features": _range(len(one["features"]) for one in ceilings),
        "labels": _range(one["labels"] for one in tenths),
        "parameters": _range(one["parameters"] for one in boths),
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, keep_trailing_newline=True
    )
    return environment.get_template("page.md.j2").render(
        **counts,
        seeds=len(boths),
        patients=f"{order.patients:,}",
        endpoint=ENDPOINT,
        epochs=recipe.student.epochs,
        batch=recipe.student.batch_size,
        quick=order.quick,
        controls=len(order.seeds_of(SCRATCH)),
        unfinished=unfinished(order, results),
        claims=listed,
        met=sum(one.verdict == MET for one in listed),
        arms=tables.arm_rows(results),
        recall=tables.recall_rows(results),
        room=room(results),
        noise=tables.noise_rows(results),
        strongest=LEVELS[-1],
        noise_changes=tables.noise_change_rows(results),
        same_way=same_way(results),
        matches={name: str(results.mean("both", f"matches.{name}")) for name in MATCHES},
        halves=tables.half_rows(results),
        doubt=tables.doubt_rows(results),
        wrong=[str(results.mean("both", f"predictive.error_called_{value}")) for value in (0, 1)],
        correlations=tables.correlation_rows(results),
        companions=tables.companion_rows(results),
        remedies=tables.remedy_rows(results),
        base=SAYS["both"],
        draws=DRAWS,
        rates=" and ".join(f"{one:g}" for one in RATES),
        chosen=", ".join(f"{rate:g} {n} times" for rate, n in sorted(Counter(one["rate"] for one in tenths).items())),
        why=why(results),
        verdict_on_remedies=verdict_on_remedies(results),
        cost=cost(results),
    )


def unfinished(order: Order, results: Results) -> list[str]:
    """Arms of which seeds are missing, each with how many there are: `from scratch (3 of 5)`."""
    found = []
    for family, says in {**SAYS, SCRATCH: "from scratch"}.items():
        wanted = len(order.seeds_of(family))
        there = min(len(list(results.of(name))) for name in members(family))
        if there < wanted:
            found.append(f"{says} ({there} of {wanted})")
    return found


def room(results: Results) -> str:
    """How good the frozen features are, loss by loss, below what the true ECG features allow."""
    of = {family: results.mean(family, "probe.auroc") for family in ("ceiling", "both", "echo", "text")}
    if any(one.mean is None for one in of.values()):
        return ""
    gains = {rival: results.difference(("both", "probe.auroc"), (rival, "probe.auroc")) for rival in ("echo", "text")}
    says = {rival: "better" if one.above_zero else "no better" for rival, one in gains.items()}
    return (
        f"**Room.** The true features allow an AUROC of {of['ceiling']}. A probe on all labels reaches {of['both']} on "
        f"the features of both losses, {of['echo']} on those of ECG-echo alone (difference {gains['echo']}: "
        f"{says['echo']}), {of['text']} on those of ECG-text alone (difference {gains['text']}: {says['text']})."
    )


def same_way(results: Results) -> str:
    """How often log-variance and crowding of the base arm change the same way under noise: `17 of 20`."""
    same = [
        (variance > one["noise"][kind][0]) == (crowding > one["noise_crowding"][kind][0])
        for one in results.of("both")
        for kind in KINDS
        for variance, crowding in zip(one["noise"][kind][1:], one["noise_crowding"][kind][1:], strict=True)
    ]
    return f"{sum(same)} of {len(same)}"


def why(results: Results) -> str:
    """The companion that goes best with the variance where the class is the same, and what it leaves of the class."""
    strength = {name: results.mean("both", f"companion.rho_{name}_in_0") for name in tables.companion_names(results)}
    known = {name: one for name, one in strength.items() if one.mean is not None}
    label = results.mean("both", "variance.rho_label")
    if not known or label.mean is None:
        return ""
    best = max(known, key=lambda name: abs(known[name].mean or 0.0))
    left = results.mean("both", f"companion.rho_label_given_{best}")
    kept = abs(left.mean / label.mean) if left.mean is not None and label.mean else 0.0
    says = "most of" if kept < 0.5 else "part of" if kept < 0.8 else "little of"
    return (
        f"Among hearts of one class the variance goes best with *{best}* (rank correlation {known[best]}). Its "
        f"correlation with the label is {label}; with *{best}* held fixed {left} remains: that companion accounts for "
        f"{says} it."
    )


def verdict_on_remedies(results: Results) -> str:
    """What each remedy helps and harms by an interval clear of 0."""
    found = []
    for name in REMEDIES:
        gains = {says: tables.gain(results, name, measure) for measure, says in tables.REMEDY_MEASURES.items()}
        helped = [says for says, one in gains.items() if one.above_zero]
        harmed = [says for says, one in gains.items() if one.high is not None and one.high < 0]
        does = [f"{verb} {', '.join(what)}" for verb, what in (("helps", helped), ("harms", harmed)) if what]
        nothing = "was not run" if all(one.mean is None for one in gains.values()) else "changes nothing"
        found.append(f"*{SAYS[name]}* {'; '.join(does) or nothing}")
    return f"By an interval clear of 0: {'. '.join(found)}."


def cost(results: Results) -> list[str]:
    """Mean CPU seconds of an arm (one thread, and one that reads ahead), judging included."""
    names = {**SAYS, SCRATCH: "from scratch, all draws and rates"}
    lines = []
    for family, says in names.items():
        runs = [one for name in members(family) for one in results.of(name)]
        if runs:
            epochs = [one["best_epoch"] for one in runs if "best_epoch" in one]
            at = f", best epoch {_range(epochs)}" if epochs else ""
            lines.append(f"{says}: {mean(one['cpu_seconds'] for one in runs):.0f} s of CPU each{at}")
    return lines


def _range(values: Any) -> str:
    """`12`, or `12 to 15`."""
    found = sorted(values)
    if not found:
        return "–"
    low, high = f"{found[0]:,}", f"{found[-1]:,}"
    return low if low == high else f"{low} to {high}"
