"""A third lesson: numbers lie on a line.

To a contrastive loss `LVEF is 34 %.` and `LVEF is 35 %.` are as foreign as any two sentences, and a number that no
report holds may lie anywhere. Here a frame is matched with the sentences of its report as they would read with other
numbers, and a wrong number is the less wrong the nearer it lies: cross-entropy against a Gaussian around the number
stated (label distribution smoothing: Yang et al., ICML 2021).

A second lesson beside the contrastive one: which of all known sentences does a frame's report hold?

From nothing, a small CLIP spends hundreds of steps before its two towers find each other. Sorting frames by the
sentences of their reports needs no text tower and teaches the image tower from the first step: softmax over the
sentences with a uniform target over those present (Mahajan et al., ECCV 2018, for hashtags). The head is thrown away.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoingecg.teacher.demo_training.examples import Examples

VALUES = 21  # numbers put into a sentence at a step
COMMON = 0.01  # share of the reports that hold a sentence before it counts
_REACH = 4.0  # standard deviations to each side
_KERNEL = 0.85  # standard deviations
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class NumberLine:
    """One sentence that differs in a whole number alone.

    Attributes:
        sentence: with `{}` for the number.
        stated: (S,) float64, the number in each study's report; NaN where the sentence is not.
        low, high: ends of the line.
        kernel: standard deviation of the target.
    """

    sentence: str
    stated: np.ndarray
    low: float
    high: float
    kernel: float

    def draw(self, random: np.random.Generator) -> np.ndarray:
        """At most VALUES numbers (V,) int64, evenly spread from end to end, another offset each time."""
        step = (self.high - self.low) / VALUES
        return np.unique(np.floor(self.low + (np.arange(VALUES) + random.random()) * step).astype(np.int64))


def number_lines(examples: Examples) -> list[NumberLine]:
    """The sentences with one whole number that enough reports hold, in the order of their text."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for study, report in enumerate(examples.sentences):
        for sentence in report:
            if len(numbers := _NUMBER.findall(sentence)) == 1:
                found[_NUMBER.sub("{}", sentence)][study] = int(numbers[0])
    lines = []
    for sentence, of_study in sorted(found.items()):
        stated = np.full(len(examples), np.nan)
        stated[list(of_study)] = list(of_study.values())
        mean, spread = float(np.nanmean(stated)), float(np.nanstd(stated))
        if len(of_study) >= COMMON * len(examples) and spread > 0:
            ends = max(mean - _REACH * spread, 0.0), mean + _REACH * spread
            lines.append(NumberLine(sentence, stated, *ends, _KERNEL * spread))
    return lines


def number_loss(
    lines: list[NumberLine],
    encode: Callable[[list[str]], Tensor],
    seen: Tensor,
    studies: np.ndarray,
    random: np.random.Generator,
) -> Tensor:
    """Mean cross-entropy over all pairs of a study and a drawn sentence that its report holds.

    About as many sentences are encoded as there are studies.

    Args:
        lines: of the examples that `studies` counts in.
        encode: texts to (V, D), of unit length.
        seen: (B, D), unit length times the logit scale.
        studies: (B,) int64.
        random: draws sentences and numbers.

    Returns:
        scalar; 0 where no report of the batch holds a drawn sentence.
    """
    drawn = random.permutation(len(lines))[: max(len(studies) // VALUES, 1)]
    asked = [(lines[at], lines[at].draw(random)) for at in drawn]
    losses = [seen.sum()[None] * 0]
    said = encode([line.sentence.format(value) for line, values in asked for value in values]) if asked else seen[:0]
    for (line, values), texts in zip(asked, said.split([len(values) for _, values in asked]), strict=True):
        stated = line.stated[studies]
        holds = np.flatnonzero(np.isfinite(stated))
        away = torch.from_numpy((values[None] - stated[holds, None]) / line.kernel).to(seen)
        target = torch.softmax(-away.square() / 2, dim=1)
        losses.append(F.cross_entropy(seen[holds] @ texts.T, target, reduction="none"))
    return torch.cat(losses).sum() / max(sum(map(len, losses)) - 1, 1)


RARE = 3  # sentences said less often teach nothing


class SentenceBank(nn.Module):
    """Scores every known sentence for an image embedding.

    Args:
        examples: whose sentences are known.
        dim: D, width of the embeddings.
    """

    def __init__(self, examples: Examples, dim: int) -> None:
        super().__init__()
        counts = Counter(sentence for report in examples.sentences for sentence in report)
        known = sorted(sentence for sentence, count in counts.items() if count >= RARE)
        place = {sentence: at for at, sentence in enumerate(known)}
        self.of_study = [[place[one] for one in report if one in place] for report in examples.sentences]
        self.head = nn.Linear(dim, len(known))

    def forward(self, embedding: Tensor, studies: np.ndarray) -> Tensor:
        """Mean cross-entropy over the studies that say anything known.

        Args:
            embedding: (B, D) of a frame of each study, not normalised.
            studies: (B,) int64.
        """
        return sorting_loss(self.head(embedding), [self.of_study[study] for study in studies])


def sorting_loss(logits: Tensor, present: Sequence[Sequence[int]]) -> Tensor:
    """Softmax cross-entropy against a uniform target over the sentences present.

    Args:
        logits: (B, S).
        present: B lists of columns; rows without any are left out.
    """
    said = [at for at, columns in enumerate(present) if columns]
    if not said:
        return logits.sum() * 0
    target = torch.zeros_like(logits[said])
    for row, at in enumerate(said):
        target[row, list(present[at])] = 1 / len(present[at])
    return F.cross_entropy(logits[said], target)
