"""Two losses beside the contrastive one: numbers lie on a line, and frames are sorted by their report's sentences.

Numbers. For a contrastive loss, `LVEF is 34 %.` and `LVEF is 35 %.` differ as much as any two sentences, and a number
that no report holds may lie anywhere. Here a frame is matched with the sentences of its report as they would read with
other numbers; the nearer a wrong number is, the less wrong it counts: cross-entropy against a Gaussian around the
number stated (label distribution smoothing: Yang et al., ICML 2021).

Sorting. From random weights, a small CLIP needs hundreds of steps before its two towers match. Sorting frames by the
sentences of their reports needs no text tower and teaches the image tower from the first step: softmax over all known
sentences with a uniform target over those present (Mahajan et al., ECCV 2018, for hashtags). The head is not kept.

Shapes: B studies of a batch, D embedding width, S studies or known sentences, V numbers.
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

NUMBERS_PER_SENTENCE = 21  # put into a sentence at a step
_MIN_REPORT_SHARE = 0.01  # reports that must hold a sentence before it becomes a number line
_MIN_REPORTS = 3  # sentences that fewer reports hold are not sorted by: they teach nothing
_LINE_HALF_LENGTH = 4.0  # standard deviations of the stated numbers
_KERNEL_WIDTH = 0.85  # standard deviations of the stated numbers
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class NumberLine:
    """A sentence that differs between reports only in one whole number.

    Attributes:
        sentence: with `{}` for the number.
        stated: (S,) float64, the number in each study's report; NaN where the report lacks the sentence.
        low, high: ends of the line.
        kernel: standard deviation of the target.
    """

    sentence: str
    stated: np.ndarray
    low: float
    high: float
    kernel: float

    def draw(self, random: np.random.Generator) -> np.ndarray:
        """Draws up to NUMBERS_PER_SENTENCE numbers, (V,) int64, evenly spaced with a random offset."""
        steps = np.arange(NUMBERS_PER_SENTENCE) + random.random()
        numbers = self.low + steps * ((self.high - self.low) / NUMBERS_PER_SENTENCE)
        return np.unique(np.floor(numbers).astype(np.int64))


def number_lines(examples: Examples) -> list[NumberLine]:
    """Finds the sentences with one whole number that enough reports hold, sorted by their text."""
    numbers: dict[str, dict[int, int]] = defaultdict(dict)  # by sentence, then by study
    for study, report in enumerate(examples.sentences):
        for sentence in report:
            if len(matches := _NUMBER.findall(sentence)) == 1:
                numbers[_NUMBER.sub("{}", sentence)][study] = int(matches[0])
    lines = []
    for sentence, by_study in sorted(numbers.items()):
        stated = np.full(len(examples), np.nan)
        stated[list(by_study)] = list(by_study.values())
        mean, deviation = float(np.nanmean(stated)), float(np.nanstd(stated))
        if len(by_study) >= _MIN_REPORT_SHARE * len(examples) and deviation > 0:
            ends = max(mean - _LINE_HALF_LENGTH * deviation, 0.0), mean + _LINE_HALF_LENGTH * deviation
            lines.append(NumberLine(sentence, stated, *ends, _KERNEL_WIDTH * deviation))
    return lines


def number_loss(
    lines: list[NumberLine],
    encode: Callable[[list[str]], Tensor],
    images: Tensor,
    studies: np.ndarray,
    random: np.random.Generator,
) -> Tensor:
    """Mean cross-entropy over all pairs of a study and a drawn sentence that its report holds.

    About as many sentences are encoded as there are studies.

    Args:
        lines: number lines of the examples that `studies` counts in.
        encode: texts to (V, D), of unit length.
        images: (B, D), unit length times the logit scale.
        studies: (B,) int64.
        random: draws sentences and numbers.

    Returns:
        scalar; 0 where no report of the batch holds a drawn sentence.
    """
    chosen = random.permutation(len(lines))[: max(len(studies) // NUMBERS_PER_SENTENCE, 1)]
    drawn = [(lines[index], lines[index].draw(random)) for index in chosen]
    losses = [images.sum()[None] * 0]
    sentences = [line.sentence.format(number) for line, numbers in drawn for number in numbers]
    texts = encode(sentences) if drawn else images[:0]
    for (line, numbers), line_texts in zip(drawn, texts.split([len(numbers) for _, numbers in drawn]), strict=True):
        stated = line.stated[studies]
        holding = np.flatnonzero(np.isfinite(stated))
        distance = torch.from_numpy((numbers[None] - stated[holding, None]) / line.kernel).to(images)
        target = torch.softmax(-distance.square() / 2, dim=1)
        losses.append(F.cross_entropy(images[holding] @ line_texts.T, target, reduction="none"))
    return torch.cat(losses).sum() / max(sum(map(len, losses)) - 1, 1)


class SentenceBank(nn.Module):
    """A linear head that scores every known sentence for an image embedding.

    Args:
        examples: studies whose sentences become known.
        dim: D, width of the embeddings.
    """

    def __init__(self, examples: Examples, dim: int) -> None:
        super().__init__()
        counts = Counter(sentence for report in examples.sentences for sentence in report)
        known = sorted(sentence for sentence, count in counts.items() if count >= _MIN_REPORTS)
        column = {sentence: index for index, sentence in enumerate(known)}
        self.columns = [[column[text] for text in report if text in column] for report in examples.sentences]
        self.head = nn.Linear(dim, len(known))

    def forward(self, embedding: Tensor, studies: np.ndarray) -> Tensor:
        """Mean cross-entropy over the studies whose reports hold any known sentence.

        Args:
            embedding: (B, D) of a frame of each study, not normalised.
            studies: (B,) int64.
        """
        return _sorting_loss(self.head(embedding), [self.columns[study] for study in studies])


def _sorting_loss(logits: Tensor, present: Sequence[Sequence[int]]) -> Tensor:
    """Softmax cross-entropy against a uniform target over the sentences present.

    Args:
        logits: (B, S).
        present: B lists of columns; rows without any are left out.
    """
    rows = [row for row, columns in enumerate(present) if columns]
    if not rows:
        return logits.sum() * 0
    target = torch.zeros_like(logits[rows])
    for index, row in enumerate(rows):
        target[index, list(present[row])] = 1 / len(present[row])
    return F.cross_entropy(logits[rows], target)
