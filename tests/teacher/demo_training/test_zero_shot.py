"""The teacher's own zero-shot, against the method written out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from echoingecg.teacher.demo_training.evaluate_and_save import ranked_value


def unit(rng: np.random.Generator, rows: int, dim: int = 8) -> np.ndarray:
    drawn = rng.standard_normal((rows, dim))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def by_hand(frames: np.ndarray, prompts: np.ndarray, values: list[float]) -> float:
    """ECHO-CLIP's ranking, one frame and one rank at a time."""
    ranked = []
    for frame in frames:
        likeness = [(float(np.dot(frame, prompt)), value) for prompt, value in zip(prompts, values, strict=True)]
        ranked.append([value for _, value in sorted(likeness, key=lambda one: -one[0])])
    averages = [sum(frame[rank] for frame in ranked) / len(ranked) for rank in range(len(values))]
    best = sorted(averages[: max(int(0.2 * len(values)), 1)])
    return best[(len(best) - 1) // 2]


@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 999))
def test_ranked_value_is_the_published_method(frames: int, prompts: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen, said, values = unit(rng, frames), unit(rng, prompts), rng.integers(0, 101, prompts)
    expected = by_hand(seen.astype(np.float32), said, values.tolist())
    assert ranked_value(seen, said, values) == pytest.approx(expected, abs=1e-9)


def test_the_value_of_the_prompts_that_fit_best_is_found() -> None:
    """Prompts on an arc, frames near the prompt that says 30: the answer is near 30, whatever the order."""
    values = np.arange(101)
    angle = values / 101 * np.pi
    prompts = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    frames = prompts[[28, 30, 33]]
    assert ranked_value(frames, prompts, values) == pytest.approx(30.3, abs=1.0)
    assert ranked_value(frames.astype(np.float16), prompts, values) == pytest.approx(30.3, abs=1.0)
    shuffled = np.random.default_rng(0).permutation(101)
    assert ranked_value(frames, prompts[shuffled], values[shuffled]) == pytest.approx(30.3, abs=1.0)
