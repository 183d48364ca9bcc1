"""What the project must show, held against the results: every claim with what was measured and a verdict."""

from dataclasses import dataclass
from itertools import product

from experiments.arms import SAYS, STUDIED
from experiments.measures import Interval
from experiments.noise import KINDS, LEVELS, Noise, rises
from experiments.order import CONTROL_SEEDS
from experiments.results import Results

MET = "met"
MISSED = "missed"
NOT_SHOWN = "missed (right way, interval holds 0)"
NOT_RUN = "not run"
GOAL = 0.75
CHANCE = (0.45, 0.55)
ACCURACY, AREA = "balanced_accuracy", "auroc"


@dataclass(frozen=True)
class Claim:
    """One line of the list.

    Attributes:
        group: letter.
        says: the claim.
        measured: in words and numbers.
        verdict: MET, MISSED, NOT_SHOWN or NOT_RUN.
    """

    group: str
    says: str
    measured: str
    verdict: str


def claims(results: Results) -> list[Claim]:
    """The whole list, in order."""
    return [*_accuracy(results), *_controls(results), *_both(results), *_noise(results), *_variance(results)]


def better(difference: Interval) -> str:
    """Verdict on a paired difference that should be positive: its interval must lie above 0."""
    if difference.mean is None:
        return NOT_RUN
    if difference.above_zero:
        return MET
    return NOT_SHOWN if difference.mean > 0 else MISSED


def within(value: Interval, low: float, high: float) -> str:
    """Verdict on a mean that should lie between two numbers, ends included."""
    if value.mean is None:
        return NOT_RUN
    return MET if low <= value.mean <= high else MISSED


def _accuracy(results: Results) -> list[Claim]:
    found = []
    for protocol, says in (
        ("zero_shot_student", "Zero-shot, student's text tower"),
        ("predictive", "Expected echo, the default answer"),
    ):
        value = results.mean("both", f"{protocol}.{ACCURACY}")
        says = f"{says}: balanced accuracy ≥ {GOAL} from the ECG alone"
        found.append(Claim("A", says, str(value), within(value, GOAL, 1)))
    for measure, name in ((ACCURACY, "balanced accuracy"), (AREA, "AUROC")):
        few, scratch = (results.mean(family, f"few.{measure}") for family in ("both", "scratch"))
        gain = results.difference(("both", f"few.{measure}"), ("scratch", f"few.{measure}"))
        says = f"10 % of the labels: linear probe beats the encoder trained from scratch, {name}"
        found.append(Claim("A", says, f"{few} against {scratch}; difference {gain}", better(gain)))
    return found


def _controls(results: Results) -> list[Claim]:
    found = []
    for family, tower, says in (
        ("both_shuffled", "student", "Shuffled pairs and texts: chance, student's text tower"),
        ("echo_shuffled", "teacher", "Shuffled ECG-echo pairs alone: chance, teacher's text tower"),
    ):
        value = results.mean(family, f"zero_shot_{tower}.{ACCURACY}")
        fixed = results.mean(family, f"zero_shot_{tower}.at_half")
        area = results.mean(family, f"zero_shot_{tower}.{AREA}")
        measured = f"{value}; at a threshold of 0.5 {fixed}; AUROC {area}"
        found.append(
            Claim("B", f"{says}, balanced accuracy {CHANCE[0]} to {CHANCE[1]}", measured, within(value, *CHANCE))
        )
    return found


def _both(results: Results) -> list[Claim]:
    found, first = [], results.first(CONTROL_SEEDS)
    for rival, own, other in (
        ("text", "student", "student"),
        ("echo", "teacher", "teacher"),
        ("echo", "student", "teacher"),
    ):
        for measure, metric in ((ACCURACY, "balanced accuracy"), (AREA, "AUROC")):
            pair = ("both", f"zero_shot_{own}.{measure}"), (rival, f"zero_shot_{other}.{measure}")
            gain = results.difference(*pair)
            measured = f"difference {gain}"
            if gain.seeds > CONTROL_SEEDS:
                measured += f"; the first {CONTROL_SEEDS} seeds alone {first.difference(*pair)}"
            judged = f"judged by the {own}'s text tower" + ("" if own == other else f", it by the {other}'s")
            says = f"Both losses beat {SAYS[rival]}: zero-shot {metric}, {judged}"
            found.append(Claim("C", says, measured, better(gain)))
    for rival, what in (("text", "the study's report"), ("echo", "the patient's own echo study")):
        gain = results.difference(("both", f"recall.{rival}"), (rival, f"recall.{rival}"))
        says = f"Both losses beat {SAYS[rival]}: recall at 5 of {what}"
        found.append(Claim("C", says, f"difference {gain}", better(gain)))
    return found


def _noise(results: Results) -> list[Claim]:
    found = []
    for variance, arm in product(("published", "predictive"), STUDIED):
        correlation = results.mean(arm, f"follows.{variance}")
        says = f"The {variance} variance follows the information lost to noise" + _arm(arm)
        measured = f"rank correlation with the AUROC lost {correlation}"
        found.append(Claim("D", says, measured, better(correlation)))
    names = {"muscle": "white muscle noise", "wander": "baseline wander"}
    for kind in KINDS:
        means = [results.mean("both", f"predictive_noise.{kind}_{at}") for at in range(len(LEVELS))]
        known = [one.mean for one in means if one.mean is not None]
        held, of = rising(results, "both", "predictive_noise", kind)
        curve = ", ".join(f"{level:g} mV {value:.3f}" for level, value in zip(LEVELS, known, strict=False))
        verdict = NOT_RUN if len(known) < len(LEVELS) else MET if rises(known) else MISSED
        says = f"The mean logarithm of the predictive variance rises at every step of {names[kind]}"
        found.append(Claim("D", says, f"{curve}; in {held} of {of} seeds".replace("-", "−"), verdict))
    return found


def _arm(arm: str) -> str:
    return "" if arm == "both" else f", arm *{SAYS[arm]}*"


def rising(results: Results, arm: str, variance: str, kind: Noise) -> tuple[int, int]:
    """In how many seeds a mean log-variance ('noise', 'predictive_noise') rises at every step, and of how many."""
    rose = [rises(one[variance][kind]) for one in results.of(arm)]
    return sum(rose), len(rose)


def _variance(results: Results) -> list[Claim]:
    halves = results.mean("both", "variance.low_minus_high")
    says = "Half of low published variance beats the other half, balanced accuracy"
    found = [Claim("E", says, str(halves), better(halves))]
    for protocol, measure, ranked in (
        ("variance", "variance", "published variance"),
        ("predictive", "doubt", "doubt of the expected echo"),
    ):
        for rival, order in (("random", "a random order"), ("distance", "referring by distance to the threshold")):
            gain = results.difference(("both", f"{protocol}.aurc_{rival}"), ("both", f"{protocol}.aurc_{measure}"))
            says = f"Referring by {ranked} beats {order} (area under risk-coverage)"
            found.append(Claim("E", says, f"area smaller by {gain}", better(gain)))
    gain = results.difference(("both", "variance.aurc_distance"), ("both", "predictive.aurc_doubt"))
    says = "The expected echo, referred by doubt, beats zero-shot, referred by distance (area under risk-coverage)"
    found.append(Claim("E", says, f"area smaller by {gain}", better(gain)))
    for says, measure in (
        ("Published variance ranks errors among ECGs called normal", "variance.rho_error_called_0"),
        ("Published variance ranks errors among ECGs called reduced", "variance.rho_error_called_1"),
        ("Predictive deviation ranks the residuals of the expected echo", "predictive.rho_residual"),
    ):
        rho = results.mean("both", measure)
        found.append(Claim("E", says, f"rank correlation {rho}", better(rho)))
    return found
