"""The arms: what each learns from, with which settings, and by which text tower it is judged."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from echoingecg.recipe import Recipe, StudentSettings, with_overrides
from echoingecg.student.data.pairs import EchoPairs, Pairs, TextPairs, TrainingData

Tower = Literal["student", "teacher"]
SHUFFLES = 1  # of each control and seed
CEILING = "ceiling"  # results beside the arms: the true ECG features,
SCRATCH = "scratch"  # and training on labels alone


@dataclass(frozen=True)
class Arm:
    """One training.

    Attributes:
        name: of its result; unique.
        family: arms of one family are averaged within a seed.
        says: in the page's words.
        overrides: `student.field=value`.
        shuffle: 0 leaves the pairs; otherwise tells one shuffle from another.
        towers: that can judge it: the student's must have learned texts, the teacher's needs ECGs in its space.
        studied: its variance and its answer to noise are studied.
    """

    name: str
    family: str
    says: str
    overrides: tuple[str, ...] = ()
    shuffle: int = 0
    towers: tuple[Tower, ...] = ("student", "teacher")
    studied: bool = False

    def settings(self, recipe: Recipe) -> StudentSettings:
        return with_overrides(recipe, list(self.overrides)).student


_NO_TEXT = ("student.text_weight=0",)


def _arm(name: str, says: str, *overrides: str, towers: tuple[Tower, ...] = ("student", "teacher")) -> Arm:
    return Arm(name, name, says, overrides, towers=towers, studied=towers == ("student", "teacher"))


ARMS = (
    _arm("both", "ECG-echo and ECG-text"),
    _arm("text", "ECG-text alone", "student.echo_weight=0", towers=("student",)),
    _arm("echo", "ECG-echo alone", *_NO_TEXT, towers=("teacher",)),
    *(
        Arm(f"both_shuffled_{number}", "both_shuffled", "both, shuffled", (), number)
        for number in range(1, SHUFFLES + 1)
    ),
    *(
        Arm(f"echo_shuffled_{number}", "echo_shuffled", "ECG-echo alone, shuffled", _NO_TEXT, number, ("teacher",))
        for number in range(1, SHUFFLES + 1)
    ),
    _arm(
        "augmented",
        "both, noise in training (white 0.2 mV, wander to 0.6 mV)",
        "student.augment.noise_mv=0.2",
        "student.augment.wander_mv=0.6",
    ),
    _arm("likelihood", "both, likelihood of the study's mean", "student.variance=likelihood"),
    _arm(
        "likelihood_augmented",
        "both, likelihood, noise in training (white 0.4 mV, wander to 0.6 mV)",
        "student.variance=likelihood",
        "student.augment.noise_mv=0.4",
        "student.augment.wander_mv=0.6",
    ),
)
SAYS = {arm.family: arm.says for arm in ARMS}
REMEDIES = ("augmented", "likelihood", "likelihood_augmented")
STUDIED = ("both", *REMEDIES)


def members(family: str) -> list[str]:
    """Names of the results that belong to a family."""
    return [arm.name for arm in ARMS if arm.family == family] or [family]


def shuffled(data: TrainingData, seed: tuple[int, int]) -> TrainingData:
    """Studies and texts dealt out to other ECGs, within each split and within what a text speaks of.

    The validation pairs, too: early stopping on true pairs would pick the epoch that fits them by chance.
    """
    random = np.random.default_rng(seed)
    return replace(data, train=_shuffled(data.train, random), validation=_shuffled(data.validation, random))


def _shuffled(pairs: Pairs, random: np.random.Generator) -> Pairs:
    echo, text = pairs.echo, pairs.text
    method, order = np.array(text.method), np.arange(len(text))
    for one in np.unique(method):
        of_method = np.flatnonzero(method == one)
        order[of_method] = random.permutation(of_method)
    words = tuple(text.text[at] for at in order)
    return Pairs(EchoPairs(echo.ecg, random.permutation(echo.study)), TextPairs(text.ecg, words, text.method))
