"""Rows of the page's tables: text in every cell."""

from experiments.arms import CEILING, REMEDIES, SAYS, SCRATCH, STUDIED
from experiments.findings import rising
from experiments.measures import Interval
from experiments.noise import KINDS, LEVELS
from experiments.results import Results

Rows = list[list[str]]
_CORRELATIONS = ("label", "error", "error_called_0", "error_called_1")


def arm_rows(results: Results) -> Rows:
    """Every family, then training from scratch and the ceiling."""
    names = {**SAYS, SCRATCH: "from scratch, labels alone", CEILING: "ceiling: the heart's true ECG features"}
    protocols = ("zero_shot_student", "zero_shot_teacher", "probe", "few")
    return [[says, *(_accuracy(results, family, one) for one in protocols)] for family, says in names.items()]


def recall_rows(results: Results) -> Rows:
    """A dash where an arm never saw that side."""
    rows = []
    for family, says in SAYS.items():
        seen = {"echo": family != "text", "text": not family.startswith("echo")}
        cells = [
            str(results.mean(family, f"recall.{what}{suffix}")) if seen[what] else "–"
            for what in ("echo", "text")
            for suffix in ("", "_chance")
        ]
        rows.append([says, *cells])
    return rows


def noise_rows(results: Results) -> Rows:
    """Makes a row of each studied arm: where the published log-variance rises, and the AUROC that noise costs."""
    rows = []
    for name in STUDIED:
        held = (rising(results, name, "noise", kind) for kind in KINDS)
        lost = (
            results.difference((name, f"{auroc}.{kind}_0"), (name, f"{auroc}.{kind}_{len(LEVELS) - 1}"))
            for auroc in ("noise_auroc", "predictive_auroc")
            for kind in KINDS
        )
        clean = str(results.mean(name, f"noise.{KINDS[0]}_0"))
        bias = str(results.mean(name, "log_var_bias"))
        rows.append([SAYS[name], *(f"{rose} of {of}" for rose, of in held), clean, bias, *map(str, lost)])
    return rows


def noise_change_rows(results: Results) -> Rows:
    """Of the base arm: by how much the log-variance and the crowding change from the clean ECGs, a row a level."""
    rows = []
    for at, level in list(enumerate(LEVELS))[1:]:
        cells = (
            str(results.difference(("both", f"{what}.{kind}_{at}"), ("both", f"{what}.{kind}_0")))
            for kind in KINDS
            for what in ("noise", "noise_crowding")
        )
        rows.append([f"{level:g} mV", *cells])
    return rows


_DOUBT = (
    "aurc_doubt", "aurc_distance", "aurc_deviation", "aurc_random", "within_doubt", "within_deviation", "rho_residual",
)  # fmt: skip


def doubt_rows(results: Results) -> Rows:
    """Makes a row of each studied arm: accuracy of the expected echo, and how its doubt ranks its own errors."""
    return [
        [
            SAYS[name],
            _accuracy(results, name, "predictive"),
            *(str(results.mean(name, f"predictive.{one}")) for one in _DOUBT),
        ]
        for name in STUDIED
    ]


def half_rows(results: Results) -> Rows:
    rows = []
    for name in STUDIED:
        cells = []
        for side in ("low", "high"):
            counts = (results.mean(name, f"variance.{side}_{one}").mean for one in ("positives", "negatives"))
            positives, negatives = ("–" if one is None else f"{one:.0f}" for one in counts)
            accuracy = results.mean(name, f"variance.{side}_balanced_accuracy")
            cells.append(f"{accuracy} [{positives} \\| {negatives}]")
        areas = ("low_minus_high", "aurc_variance", "aurc_distance", "aurc_random", "aurc_best")
        rows.append([SAYS[name], *cells, *(str(results.mean(name, f"variance.{one}")) for one in areas)])
    return rows


def correlation_rows(results: Results) -> Rows:
    return [
        [SAYS[name], *(str(results.mean(name, f"variance.rho_{one}")) for one in _CORRELATIONS)] for name in STUDIED
    ]


def companion_names(results: Results) -> list[str]:
    """Companions of the base arm, in order."""
    return list(next((one["companions"] for one in results.of("both")), {}))


def companion_rows(results: Results) -> Rows:
    return [
        [
            name,
            *(
                str(results.mean("both", f"companion.{measure}"))
                for measure in (f"rho_{name}", f"rho_{name}_in_0", f"rho_label_given_{name}")
            ),
        ]
        for name in companion_names(results)
    ]


REMEDY_MEASURES = {
    "zero_shot_student.balanced_accuracy": "zero-shot balanced accuracy",
    "variance.low_minus_high": "the halves",
    "variance.aurc_variance": "the area by variance",
    "zero_shot_teacher.auroc": "AUROC by the teacher's texts",
    "follows.published": "how the published variance follows the information lost",
    "predictive.balanced_accuracy": "the default answer's balanced accuracy",
    "predictive.aurc_doubt": "the area by doubt",
}


def gain(results: Results, name: str, measure: str) -> Interval:
    """By how much a remedy is better than the base arm; areas count the other way round."""
    pair = ((name, measure), ("both", measure))
    return results.difference(*(reversed(pair) if "aurc" in measure else pair))


def remedy_rows(results: Results) -> Rows:
    return [[SAYS[name], *(str(gain(results, name, one)) for one in REMEDY_MEASURES)] for name in REMEDIES]


def _accuracy(results: Results, family: str, protocol: str) -> str:
    accuracy, area = (results.mean(family, f"{protocol}.{one}") for one in ("balanced_accuracy", "auroc"))
    return "–" if accuracy.mean is None else f"{accuracy} / {area}"
