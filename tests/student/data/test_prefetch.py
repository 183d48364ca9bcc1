"""Prefetching: the same results in the same order, one thread, none left behind."""

import threading
import time
from collections.abc import Callable
from contextlib import closing

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from echoingecg.common import prefetched
from echoingecg.student.data.batches import Feed, Planner, Sides, prompt_texts
from echoingecg.student.data.transforms import fit_scaler
from echoingecg.student.model.text_encoder import text_tower
from helpers.cases.student_data import settings, training_data


def workers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("prefetch")]


@given(items=st.lists(st.integers()), ahead=st.integers(1, 5))
def test_is_map(items: list[int], ahead: int) -> None:
    assert list(prefetched(lambda item: item * 2, items, ahead)) == [item * 2 for item in items]
    assert not workers()


@pytest.mark.parametrize("ahead", [1, 3])
def test_works_ahead_in_one_other_thread_and_no_further(ahead: int) -> None:
    made: list[tuple[int, str]] = []
    reached = threading.Semaphore(0)

    def make(item: int) -> int:
        made.append((item, threading.current_thread().name))
        reached.release()
        return item

    with closing(prefetched(make, range(100), ahead)) as stream:
        assert next(stream) == 0
        for _ in range(1 + ahead):
            assert reached.acquire(timeout=10)
        time.sleep(0.02)  # a thread that ran further would show
        assert [item for item, _ in made] == list(range(1 + ahead))
        assert len({name for _, name in made}) == 1
        assert made[0][1] != threading.current_thread().name
    assert not workers()


def test_an_exception_comes_when_its_result_is_due() -> None:
    def make(item: int) -> int:
        if item == 3:
            raise KeyError("three")
        return item

    stream = prefetched(make, range(10))
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(stream)
    assert not workers()


def test_leaving_early_ends_the_thread() -> None:
    def first_only(make: Callable[[int], int]) -> None:
        with closing(prefetched(make, range(100))) as stream:
            for _ in stream:
                raise RuntimeError("the step failed")

    with pytest.raises(RuntimeError, match="the step failed"):
        first_only(lambda item: item)
    assert not workers()


def test_preparation_hides_behind_the_step() -> None:
    """10 items of 100 ms each way: about 1.1 s together, 2 s one after the other, and a busy machine adds to both."""
    started = time.perf_counter()
    for _ in prefetched(lambda item: time.sleep(0.1), range(10)):
        time.sleep(0.1)
    assert time.perf_counter() - started < 1.8


def _tensors(inputs: Sides) -> list[torch.Tensor]:
    return [inputs[0], *inputs[1], inputs[2]]


def test_a_streamed_epoch_is_the_plain_one_from_any_batch_on() -> None:
    data = training_data()
    scaler = fit_scaler(data.signals, data.train.ecgs)
    feed = Feed(
        data, data.train, scaler, text_tower(settings().model, prompt_texts(data.train.text)), torch.device("cpu")
    )
    plan = Planner(data.train, ("ecg_echo", "ecg_text"), 8, 1)
    plain = [(batch, _tensors(feed.batch(batch))) for batch in plan.epoch(2)]
    assert {batch.kind for batch, _ in plain} == {"ecg_echo", "ecg_text"}
    for start in (0, 1, len(plain) - 1, len(plain)):
        streamed = list(feed.stream(plan.epoch(2)[start:]))
        assert len(streamed) == len(plain) - start
        for (batch, inputs), (expected_batch, expected) in zip(streamed, plain[start:], strict=True):
            assert batch.kind == expected_batch.kind
            np.testing.assert_array_equal(batch.rows, expected_batch.rows)
            assert all(torch.equal(one, two) for one, two in zip(_tensors(inputs), expected, strict=True))
    assert not workers()
