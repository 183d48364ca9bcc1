"""A second lesson beside the contrastive one: which of all known sentences does a frame's report hold?

From nothing, a small CLIP spends hundreds of steps before its two towers find each other. Sorting frames by the
sentences of their reports needs no text tower and teaches the image tower from the first step: softmax over the
sentences with a uniform target over those present (Mahajan et al., ECCV 2018, for hashtags). The head is thrown away.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoingecg.teacher.demo_training.examples import Examples

RARE: Final = 3  # sentences said less often teach nothing


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
