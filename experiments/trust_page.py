"""Writes docs/trust.md from the numbers of several hospitals: what must hold, and whether it does."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import exp, isnan
from pathlib import Path
from typing import Any

from echoingecg.ecg.disturbance import DISTURBANCES
from echoingecg.evaluation.data import names
from echoingecg.evaluation.report.wording import protocol_name
from experiments.measures import Interval, t_interval

Results = Sequence[dict[str, Any]]
_SEVERE = ("muscle noise", "baseline wander", "lead loss", "gain")  # few wrong answers at the highest level
_MOST_WRONG = 0.02
_LEVELS = 5  # of each disturbance, beside none
_STEPS = _LEVELS * len(DISTURBANCES)

_HEAD = """# Trust

Written by `make bench-stress SEEDS={seeds}` from its own results; nothing on this page is typed in. Simulated patients
and a small teacher: the page shows what the method does here, not what it does in patients.

{seeds} hospitals of {patients:,} simulated patients, each through all six stages of the demo recipe (split 0.6, 0.15,
0.25; up to 16 epochs). Question: **LVEF < 40 %**. Every number comes from test patients; means over hospitals with
Student's t 95 % intervals of one value a hospital. The strengths of the regressions behind the predictive distribution
and of the likeness to disturbed ECGs were chosen on the first hospital.

A rise of a disturbance is the largest of its five steps, picked after the fact from {steps} steps in all. Its interval
is therefore widened so that all {steps} hold together at 95 % (Bonferroni); beside it stands the step's own.

*Expected echo* is the protocol with a predictive distribution: what the echo itself would get by zero-shot, predicted
from the student's frozen features, with a variance ([evaluation](evaluation.md)). *Doubt* is minus the distance of its
mean to the threshold in predictive deviations.

## What must hold

| | measured | holds |
|---|---|---|
"""


def write_page(results: Results, patients: int, out: Path) -> None:
    """Writes the page.

    Args:
        results: of `experiments.trust.measures`, one a hospital.
        patients: of each hospital.
        out: Markdown file, replaced.
    """
    lines = [f"| {claim} | {measured} | **{'yes' if holds else 'no'}** |" for claim, measured, holds in claims(results)]
    page = _HEAD.format(seeds=len(results), patients=patients, steps=_STEPS) + "\n".join(lines) + "\n\n"
    page += "## Disturbed ECGs\n\nShare of all test ECGs answered, and in brackets answered wrongly, in per cent.\n\n"
    page += "| disturbance | 0 | 1 | 2 | 3 | 4 | 5 | levels |\n|---|---|---|---|---|---|---|---|\n"
    for name, kind in DISTURBANCES.items():
        cells = (
            f"{100 * answered:.0f} ({100 * wrong:.1f})"
            for answered, wrong in zip(
                _means(results, f"answered | {name}"), _means(results, f"wrong | {name}"), strict=True
            )
        )
        levels = f"{', '.join(f'{level:g}' for level in kind.levels)} {kind.unit}"
        page += f"| {name} | {' | '.join(cells)} | {levels} |\n"
    page += (
        "\n## Who is answered, and how well it is known\n\n| | "
        + " | ".join(_NAMES.values())
        + " |\n|---|---|---|---|\n"
    )
    for title, key in _ROWS.items():
        cells = (str(t_interval([result[f"{key} {protocol}"] for result in results])) for protocol in _NAMES)
        page += f"| {title} | {' | '.join(cells)} |\n"
    if all("LVEF error" in result for result in results):  # results of earlier runs have none
        page += "\n## LVEF with its 90 % interval\n\n| | mean over hospitals |\n|---|---|\n"
        for title, key in _OF_LVEF.items():
            page += f"| {title} | {t_interval([result[key] for result in results])} |\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")


_PROTOCOLS = (names.ZERO_SHOT, names.ZERO_SHOT_TEACHER, names.EXPECTED_ECHO)
_NAMES = {protocol: protocol_name(protocol).lower() for protocol in _PROTOCOLS}
_ROWS = {
    "AUROC": "auroc",
    "balanced accuracy": "accuracy",
    "share answered": "answered",
    "share answered wrongly": "wrong",
}
_OF_LVEF = {
    "mean absolute error, %": "LVEF error",
    "the same of always the training mean": "LVEF error, training mean",
    "half with the smaller deviations": "LVEF error, low half",
    "half with the larger deviations": "LVEF error, high half",
    "of those not referred": "LVEF error, answered",
    "share not referred": "LVEF answered",
    "intervals that hold": "LVEF coverage",
    "half with the smaller deviations, intervals that hold": "LVEF coverage, low half",
    "half with the larger deviations, intervals that hold": "LVEF coverage, high half",
}


def claims(results: Results) -> list[tuple[str, str, bool]]:
    """What must hold: a sentence, what was measured, and whether it holds."""

    def over(value: Callable[[dict[str, Any]], float | None]) -> Interval:
        return t_interval([value(result) for result in results])

    rows: list[tuple[str, str, bool]] = []
    for name in DISTURBANCES:
        wrong, together = _largest_rise(results, f"wrong | {name}")
        rows.append((f"{name}: wrong answers never rise with the level", wrong, not together.above_zero))
        answered = _means(results, f"answered | {name}")
        fall = over(lambda result: result[f"answered | {name}"][0] - result[f"answered | {name}"][-1])  # noqa: B023
        levels = ", ".join(f"{100 * value:.0f}" for value in answered)
        rows.append((f"{name}: the share answered falls", f"{levels} %; from first to last {fall}", fall.above_zero))
        rise, together = _largest_rise(results, f"answered | {name}")
        rows.append((f"{name}: the share answered rises at no step", rise, not together.above_zero))
    for name in _SEVERE:
        last = over(lambda result: result[f"wrong | {name}"][-1])  # noqa: B023
        claim = f"{name}, highest level: at most {100 * _MOST_WRONG:g} % of all answered wrongly"
        rows.append((claim, str(last), (last.mean or 0.0) <= _MOST_WRONG))
    for name in ("muscle noise", "baseline wander"):
        deviation = [value for value in _means(results, f"uncertainty | {name}") if not isnan(value)]
        refused = "" if len(deviation) == 6 else "; the others were all refused"
        rows.append(
            (
                f"{name}: the mean predictive deviation rises at every level",
                ", ".join(f"{value:.3f}" for value in deviation) + refused,
                all(later > earlier for earlier, later in pairwise(deviation)),
            )
        )
    for name, text in (("clean", "clean ECGs"), ("mixture", "a mixture of noise levels")):
        gain = over(lambda result: result[f"aurc {name}, distance"] - result[f"aurc {name}, doubt"])  # noqa: B023
        rows.append((f"Risk-coverage by doubt beats the distance, {text}", f"area smaller by {gain}", gain.above_zero))
    correlation = over(lambda result: result["rank correlation of deviation and residual"])
    rows.append(("Rank correlation of deviation and residual is positive", str(correlation), correlation.above_zero))
    halves = over(lambda result: result["halves by doubt"])
    claim = "Surer half by doubt, within the predicted class: at least 5 points fewer errors"
    rows.append((claim, f"{halves} points", (halves.mean or 0.0) >= 5))
    rows.append(_halves_by_deviation(over))
    for measure, title in (("auroc", "AUROC"), ("accuracy", "balanced accuracy")):
        for protocol in (names.ZERO_SHOT, names.ZERO_SHOT_TEACHER):
            gain = over(lambda result: result[f"{measure} {names.EXPECTED_ECHO}"] - result[f"{measure} {protocol}"])  # noqa: B023
            claim = f"{title} of expected echo is not lower than {_NAMES[protocol]} (interval above -0.01)"
            rows.append((claim, str(gain), gain.low is not None and gain.low > -0.01))
    for part in ("", ", low half", ", high half"):
        coverage = over(lambda result: result[f"coverage{part}"])  # noqa: B023
        rows.append((f"90 % intervals cover 87 to 93 %{part}", str(coverage), 0.87 <= (coverage.mean or 0) <= 0.93))
    slope = over(lambda result: result.get("calibration slope"))
    rows.append(("Calibration slope 0.8 to 1.2", str(slope), 0.8 <= (slope.mean or 0) <= 1.2))
    return rows


def _largest_rise(results: Results, name: str) -> tuple[str, Interval]:
    """The step with the largest mean rise, in words, and its interval that holds together with those of all steps."""
    means = _means(results, name)
    worst = max(range(_LEVELS), key=lambda step: means[step + 1] - means[step])
    rises = [result[name][worst + 1] - result[name][worst] for result in results]
    together = t_interval(rises, _STEPS)
    return f"largest rise, from {worst} to {worst + 1}: {together}; alone {t_interval(rises)}", together


def _halves_by_deviation(over: Callable[[Callable[[dict[str, Any]], float | None]], Interval]) -> tuple[str, str, bool]:
    """Errors of the half with the larger deviations above those of the other: 5 points, or what explains fewer.

    The explanation is measured: the predictive distribution states how often each answer is wrong, so it states this
    difference as well. Where it states fewer than 5 points, and no fewer are seen than it states, the deviation does
    its part, and the distance to the threshold, which varies far more, decides most errors.
    """
    halves = over(lambda result: result["halves by deviation"])
    stated = over(lambda result: result["halves by deviation, expected"])
    gap = over(lambda result: result["halves by deviation"] - result["halves by deviation, expected"])
    spreads = [over(lambda result: result[f"spread of log {name}"]) for name in ("deviation", "distance")]  # noqa: B023
    measured = (
        f"{halves} points; the distribution itself states {stated}; the deviation varies by a factor of "
        f"{exp(spreads[0].mean or 0):.2f} (one standard deviation), the distance to the threshold by "
        f"{exp(spreads[1].mean or 0):.1f}"
    )
    explained = (stated.mean or 0) < 5 and gap.high is not None and gap.high >= 0
    claim = (
        "Surer half by deviation, within the predicted class: at least 5 points fewer errors, or the measured reason"
    )
    return claim, measured, (halves.mean or 0.0) >= 5 or explained


def _means(results: Results, name: str) -> list[float]:
    """Mean over hospitals at each level from 0 to 5; hospitals without a value are left out."""
    columns = zip(*(result[name] for result in results), strict=True)
    known = [[value for value in column if value is not None] for column in columns]
    return [sum(values) / len(values) if values else float("nan") for values in known]
