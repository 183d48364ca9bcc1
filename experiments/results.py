"""The kept results as one number a seed: read, measured, averaged over repeats within a seed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from echoingecg.evaluation.decision.threshold_and_referral import DEFAULT_THRESHOLD
from echoingecg.evaluation.metrics.classification import AUROC, BALANCED_ACCURACY
from experiments.arms import ARMS
from experiments.measures import (
    Interval,
    companion_measures,
    doubt_measures,
    follows,
    paired,
    t_interval,
    uncertainty_measures,
)
from experiments.order import Order

Measures = dict[str, float | None]
FAMILIES = {arm.name: arm.family for arm in ARMS}


def measures(result: dict[str, Any]) -> Measures:
    """Every number of one result, by `protocol.name`.

    Protocols: zero_shot_student, zero_shot_teacher, probe (all labels), few (mean over draws), recall, noise,
    noise_crowding, noise_auroc, predictive_noise, predictive_auroc, matches, variance (zero-shot by the student's text
    tower), follows (the AUROC lost to noise: published and predictive variance), predictive, companion, log_var_bias.
    """
    label = np.array(result["label"])
    found: Measures = {}
    for tower, one in result.get("zero_shot", {}).items():
        score = np.array(one["score"])
        found |= _named(f"zero_shot_{tower}", _accuracy(label, one))
        found[f"zero_shot_{tower}.at_half"] = float(balanced_accuracy_score(label, score >= DEFAULT_THRESHOLD))
    if "probe" in result:
        found |= _named("probe", _accuracy(label, result["probe"]))
    if "few" in result:
        draws = [_accuracy(label, one) for one in result["few"]]
        found |= {f"few.{name}": float(np.mean([one[name] for one in draws])) for name in draws[0]}
    for what in ("echo", "text"):
        if what in result.get("recall", {}):
            found[f"recall.{what}"] = result["recall"][what][1]
            found[f"recall.{what}_chance"] = result["recall"][f"{what}_chance"][1]
    for what in ("noise", "noise_crowding", "noise_auroc", "predictive_noise", "predictive_auroc"):
        for kind, values in result.get(what, {}).items():
            found |= {f"{what}.{kind}_{at}": value for at, value in enumerate(values)}
    for name, variance, auroc in (
        ("published", "noise", "noise_auroc"),
        ("predictive", "predictive_noise", "predictive_auroc"),
    ):
        if variance in result:
            found[f"follows.{name}"] = follows(result[variance], result[auroc])
    if "predictive" in result:
        found |= _named("predictive", doubt_measures(label, result["predictive"]))
    found |= _named("matches", result.get("matches", {}))
    if "log_var_bias" in result:
        found["log_var_bias"] = result["log_var_bias"]
    if "companions" in result and "student" in result["zero_shot"]:
        uncertainty = np.array(result["uncertainty"])
        by_student = result["zero_shot"]["student"]
        score = np.array(by_student["score"])
        found |= _named("variance", uncertainty_measures(label, score, by_student["threshold"], uncertainty))
        companions = {name: np.array(values) for name, values in result["companions"].items()}
        found |= _named("companion", companion_measures(label, uncertainty, companions))
    return found


def _accuracy(label: np.ndarray, one: dict[str, Any]) -> dict[str, float]:
    score = np.array(one["score"])
    return {
        AUROC: float(roc_auc_score(label, score)),
        BALANCED_ACCURACY: float(balanced_accuracy_score(label, score >= one["threshold"])),
    }


def _named(prefix: str, values: dict[str, Any]) -> Measures:
    return {f"{prefix}.{name}": value for name, value in values.items()}


@dataclass(frozen=True)
class Results:
    """All results of a run.

    Attributes:
        raw: result by seed and name.
    """

    raw: dict[int, dict[str, dict[str, Any]]]

    @classmethod
    def read(cls, order: Order) -> "Results":
        """The results of the order's seeds that are there."""
        raw: dict[int, dict[str, dict[str, Any]]] = {}
        for seed in order.all_seeds:
            for path in sorted(order.results(seed).glob("*.json")):
                one = json.loads(path.read_text(encoding="utf-8"))
                raw.setdefault(seed, {})[one["name"]] = one
        return cls(raw)

    def first(self, seeds: int) -> "Results":
        """Those of the first so many seeds."""
        return Results({seed: self.raw[seed] for seed in sorted(self.raw)[:seeds]})

    @cached_property
    def _measured(self) -> dict[int, dict[str, Measures]]:
        return {seed: {name: measures(one) for name, one in of_seed.items()} for seed, of_seed in self.raw.items()}

    def of(self, name: str) -> Iterator[dict[str, Any]]:
        """One result of each seed that has it, seeds in order."""
        yield from (self.raw[seed][name] for seed in sorted(self.raw) if name in self.raw[seed])

    def by_seed(self, family: str, measure: str) -> dict[int, float | None]:
        """A seed's value: the mean over the family's repeats; seeds without the family are absent."""
        found: dict[int, float | None] = {}
        for seed, of_seed in self._measured.items():
            repeats = [one.get(measure) for name, one in of_seed.items() if FAMILIES.get(name, name) == family]
            known = [value for value in repeats if value is not None]
            if repeats:
                found[seed] = float(np.mean(known)) if known else None
        return found

    def mean(self, family: str, measure: str) -> Interval:
        """Over seeds."""
        return t_interval(list(self.by_seed(family, measure).values()))

    def difference(self, first: tuple[str, str], second: tuple[str, str]) -> Interval:
        """Of two (family, measure), paired by seed."""
        return paired(self.by_seed(*first), self.by_seed(*second))
