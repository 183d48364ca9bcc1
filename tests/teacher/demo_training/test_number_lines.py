"""Numbers on a line: which sentences count, what is drawn, and the loss against a slow oracle."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from echoingecg.teacher.demo_training.examples import Examples
from echoingecg.teacher.demo_training.losses import NUMBERS_PER_SENTENCE, NumberLine, number_lines, number_loss


def reports(*texts: str) -> Examples:
    names = [f"s{at:03d}" for at in range(len(texts))]
    clip = np.zeros((1, 2, 2, 3), np.uint8)
    return Examples.join(
        {name: [clip] for name in names}, dict(zip(names, texts, strict=True)), {}, {name: name for name in names}
    )


def encode(texts: list[str]) -> Tensor:
    """Any sentence as a unit vector that its bytes give."""
    rows = [np.random.default_rng(list(text.encode())).normal(size=6) for text in texts]
    return F.normalize(torch.from_numpy(np.stack(rows)), dim=1)


def test_sentences_with_one_whole_number_are_lines() -> None:
    lines = number_lines(
        reports("LVEF is 20 %. Fair quality. Septal wall 11.5 mm.", "LVEF is 60 %. Wall 8 to 9 mm.", "LVEDD 50 mm.")
    )
    assert [line.sentence for line in lines] == ["LVEF is {} %."]  # LVEDD is the same in all reports that name it
    (line,) = lines
    np.testing.assert_array_equal(line.stated, [20, 60, np.nan])
    assert (line.low, line.high, line.kernel) == (0.0, 40 + 4 * 20, 0.85 * 20)


def test_a_rare_sentence_is_no_line() -> None:
    common = [f"LVEF is {20 + at % 50} %." for at in range(400)]
    assert len(number_lines(reports(*common, "TAPSE 12 mm.", "TAPSE 20 mm."))) == 1


def test_numbers_drawn_reach_every_whole_number_of_the_line() -> None:
    line = NumberLine("LVEF is {} %.", np.array([50.0]), 0.0, 100.0, 10.0)
    random = np.random.default_rng(1)
    drawn = [line.draw(random) for _ in range(200)]
    assert all(len(one) == NUMBERS_PER_SENTENCE for one in drawn)
    assert set(np.concatenate(drawn).tolist()) == set(range(100))
    short = NumberLine("Wall {} mm.", np.array([9.0]), 6.0, 12.0, 1.0)
    assert short.draw(random).tolist() == [6, 7, 8, 9, 10, 11]


def test_the_loss_is_the_cross_entropy_against_a_gaussian_around_the_stated_number() -> None:
    lines = number_lines(
        reports("LVEF is 20 %. LVEDD 60 mm.", "LVEF is 60 %.", "Nothing counted.", "LVEF is 44 %. LVEDD 48 mm.")
    )
    studies = np.array([3, 0, 2, 1] * 12)  # 48 studies: two sentences are drawn, that is all
    seen = 5 * F.normalize(torch.from_numpy(np.random.default_rng(2).normal(size=(48, 6))), dim=1)
    found = number_loss(lines, encode, seen, studies, np.random.default_rng(3))

    random, terms = np.random.default_rng(3), []
    for at in random.permutation(2):
        values = lines[at].draw(random)
        for row, study in enumerate(studies):
            stated = lines[at].stated[study]
            if math.isnan(stated):
                continue
            logits = [float(seen[row] @ encode([lines[at].sentence.format(value)])[0]) for value in values]
            weight = [math.exp(-(((value - stated) / lines[at].kernel) ** 2) / 2) for value in values]
            highest = max(logits)
            total = highest + math.log(sum(math.exp(one - highest) for one in logits))
            terms.append(sum(w * (total - one) for w, one in zip(weight, logits, strict=True)) / sum(weight))
    assert len(terms) == 60  # 36 with an LVEF, 24 with a diameter
    assert found.item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


def test_without_numbers_the_loss_is_nothing() -> None:
    assert number_lines(reports("Normal.", "Reduced.")) == []
    seen = torch.ones(2, 6, requires_grad=True)
    number_loss([], encode, seen, np.array([0, 1]), np.random.default_rng(0)).backward()
    assert seen.grad is not None
    assert not seen.grad.any()
