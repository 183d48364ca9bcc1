"""Results of two arms' worth of planted scores, in the form that a run keeps."""

from typing import Any

import numpy as np

from experiments.arms import ARMS
from experiments.noise import KINDS, LEVELS
from experiments.results import Results

CASES = 80
POSITIVES = 24


def one_result(name: str, seed: int, skill: float) -> dict[str, Any]:
    """An arm whose scores lie `skill` standard deviations apart, whose variance is larger where it errs."""
    random = np.random.default_rng((seed, len(name)))
    label = np.arange(CASES) < POSITIVES
    arm = next((one for one in ARMS if one.name == name), None)

    def scored(more: float = 0.0) -> dict[str, Any]:
        score = 1 / (1 + np.exp(-(random.normal(0, 1, CASES) + (skill + more) * (label - 0.5))))
        return {"score": score.tolist(), "threshold": 0.5}

    found: dict[str, Any] = {
        "key": "k",
        "seed": seed,
        "name": name,
        "cpu_seconds": 1.0,
        "label": label.astype(int).tolist(),
    }
    if name == "ceiling":
        sides = {"train": 200, "validation": 50, "test": CASES}
        return found | {"probe": scored(1), "features": ["a", "b"], "cases": sides, "positives": sides}
    if arm is None:
        return found | {"few": [scored() | {"rate": 1e-3, "epoch": 3, "labels": 20}]}
    zero_shot = {tower: scored() for tower in arm.towers}
    by_one = next(iter(zero_shot.values()))
    wrong = (np.array(by_one["score"]) >= 0.5) != label
    found |= {
        "zero_shot": zero_shot,
        "probe": scored(0.5),
        "few": [scored(0.2) | {"c": 0.1} for _ in range(2)],
        "recall": {one: [0.1, 0.3, 0.5] for one in ("echo", "echo_chance", "text", "text_chance")},
        "uncertainty": (random.normal(0, 1, CASES) + skill * wrong).tolist(),
        "best_epoch": 4,
        "steps": 40,
        "parameters": 1000,
    }
    if arm.studied:
        found["companions"] = {"crowding": random.normal(0, 1, CASES).tolist()}
        rise = [-5 + 0.1 * skill * at for at in range(len(LEVELS))]
        found["noise"] = found["noise_crowding"] = {"muscle": rise, "wander": rise}
        found["predictive_noise"] = found["noise"]
        found["predictive"] = by_one | {
            "deviation": np.exp(random.normal(0, 0.5, CASES) + skill * wrong).tolist(),
            "residual": np.exp(random.normal(0, 0.5, CASES) + skill * wrong).tolist(),
        }
        found["predictive_auroc"] = found["noise_auroc"] = {
            kind: [0.9 - 0.01 * at for at in range(len(LEVELS))] for kind in KINDS
        }
        found["log_var_bias"] = -4.0
        found["matches"] = {"own_mean": 1.1, "own_spread": 0.2, "same_spread": 0.4}
    return found


def results_of(skill: dict[str, float], seeds: int = 3) -> Results:
    """Every arm at 0, but for those named."""
    names = [*(arm.name for arm in ARMS), "scratch", "ceiling"]
    return Results(
        {seed: {name: one_result(name, seed, skill.get(name, 0.0)) for name in names} for seed in range(seeds)}
    )
