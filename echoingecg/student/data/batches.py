"""Batches: which pairs form each batch, and their signals, targets and texts as tensors.

The choice of pairs is a pure function of seed and epoch, so training can resume at any batch.
"""

from collections.abc import Generator, Iterable
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from echoingecg.common import prefetched
from echoingecg.student.data.pairs import KINDS, Kind, Pairs, TextPairs, TrainingData
from echoingecg.student.data.transforms import Scaler
from echoingecg.student.model import gaussian_heads, text_encoder

VALIDATION = 0  # the epoch whose random numbers are for validation; training epochs count from 1


class Tokens(NamedTuple):
    """A batch of tokenised texts: ids and mask, both (B, T) int64."""

    ids: Tensor
    mask: Tensor


Partner = gaussian_heads.GaussianTensor | Tokens  # the teacher's targets, or texts still to be encoded


Sides = tuple[Tensor, Partner, Tensor]  # ECGs, their partners, and the partners' identities


class Batch(NamedTuple):
    """Pairs of one kind; `rows` (B,) int64 are rows of EchoPairs or TextPairs."""

    kind: Kind
    rows: np.ndarray


class Planner:
    """Puts the pairs of a split into batches of one kind, ECG-echo or ECG-text (EchoingECG, section 3).

    In the losses a pair of a batch is negative unless its partner is the matched one, so a batch should hold each ECG
    and each study once. Pairs that share an ECG or a study form a group. The pairs of a group go to different batches;
    a batch gets two of them only if there are fewer batches than pairs in the group.

    Args:
        pairs: of one split.
        kinds: the kinds of pairs to use; others are left out.
        batch_size: pairs in a batch.
        seed: any integer.
    """

    def __init__(self, pairs: Pairs, kinds: tuple[Kind, ...], batch_size: int, seed: int) -> None:
        self.kinds = kinds
        self.batch_size = batch_size
        self.seed = seed % 2**64
        self._study = {"ecg_echo": pairs.echo.study, "ecg_text": np.zeros(len(pairs.text), np.int64)}
        self._group = {"ecg_echo": component_labels(pairs.echo.ecg, pairs.echo.study), "ecg_text": pairs.text.ecg}

    def steps(self, kind: Kind) -> int:
        """Returns the number of full batches of one kind."""
        return len(self._group[kind]) // self.batch_size

    def epoch(self, number: int) -> list[Batch]:
        """Returns the full batches of an epoch in random order; pairs that fill no batch differ from epoch to epoch.

        Args:
            number: from 1.
        """
        batches = [batch for kind in self.kinds for batch in self._dealt(kind, number, self.steps(kind), whole=False)]
        order = self._random(number, len(KINDS)).permutation(len(batches))
        return [batches[index] for index in order]

    def all_batches(self) -> list[Batch]:
        """Returns every pair once, always in the same batches; none is below the batch size if pairs suffice."""
        return [
            batch
            for kind in self.kinds
            if len(self._group[kind])
            for batch in self._dealt(kind, VALIDATION, max(1, self.steps(kind)), whole=True)
        ]

    def _random(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, stream])

    def _dealt(self, kind: Kind, epoch: int, batches: int, whole: bool) -> list[Batch]:
        """Deals pairs to batches like cards, group after group: the pairs of a group go to different batches."""
        random = self._random(epoch, KINDS.index(kind))
        order = random.permutation(len(self._group[kind]))
        if not whole:
            beyond = earlier_occurrences(self._group[kind][order]) >= batches
            order = order[np.argsort(beyond, kind="stable")][: batches * self.batch_size]
        _, group = np.unique(self._group[kind][order], return_inverse=True)
        shuffled = random.permutation(group.max(initial=-1) + 1)[group]
        dealt = order[np.lexsort((self._study[kind][order], shuffled))]
        return [Batch(kind, dealt[first::batches]) for first in range(batches)]


def earlier_occurrences(values: np.ndarray) -> np.ndarray:
    """Counts how often each value occurred before: [7, 5, 7, 7] gives [0, 0, 1, 2]."""
    order = np.argsort(values, kind="stable")
    _, first, which = np.unique(values[order], return_index=True, return_inverse=True)
    before = np.empty(len(values), dtype=np.int64)
    before[order] = np.arange(len(values)) - first[which]
    return before


def component_labels(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Labels the connected components of pairs: two pairs that share an a or a b get the same label.

    Args:
        a: (P,) int64.
        b: (P,) int64.

    Returns:
        (P,) integers.
    """
    left, right = a.max(initial=-1) + 1, b.max(initial=-1) + 1
    size = int(left + right)
    graph = coo_array((np.ones(len(a), np.int8), (a, left + b)), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    return label[a]


class Feed:
    """Makes tensors of the batches of one split: texts are tokenised once, signals are read for each batch.

    Args:
        data: signals and targets.
        pairs: of the split.
        scaler: fitted on the training split.
        tower: its tokenizer and padding token are used.
        device: of the tensors.
    """

    def __init__(
        self, data: TrainingData, pairs: Pairs, scaler: Scaler, tower: text_encoder.TextTower, device: torch.device
    ) -> None:
        self.pairs = pairs
        self._data = data
        self._scaler = scaler
        self._device = device
        texts = prompt_texts(pairs.text)
        self._texts = text_encoder.TokenisedTexts.from_texts(tower.tokenizer, texts, tower.pad)
        self._text_identity = equal_text_numbers(texts)

    def stream(self, batches: Iterable[Batch]) -> Generator[tuple[Batch, Sides], None, None]:
        """Yields batches in the given order; each is prepared while the one before it is used.

        Exhaust it, or close it (`contextlib.closing`) when leaving early.
        """
        return prefetched(lambda batch: (batch, self.batch(batch)), batches)

    def batch(self, batch: Batch) -> Sides:
        """Returns both sides of a batch, the arguments of Objective."""
        return self.signal(self.ecg_rows(batch)), self.partner(batch), self.identity(batch)

    def ecg_rows(self, batch: Batch) -> np.ndarray:
        """Returns the signals' rows of a batch, (B,) int64."""
        pairs = self.pairs.echo if batch.kind == "ecg_echo" else self.pairs.text
        return pairs.ecg[batch.rows]

    def signal(self, rows: np.ndarray) -> Tensor:
        """Reads and standardises ECGs, (B, 12, T) float32."""
        return torch.from_numpy(self._scaler.standardise(self._data.signals.read(rows))).to(self._device)

    def partner(self, batch: Batch) -> Partner:
        """Returns the other side of each pair: the teacher's Gaussian or the tokens of the text."""
        if batch.kind == "ecg_echo":
            return self.targets(self.pairs.echo.study[batch.rows])
        return Tokens(*(part.to(self._device) for part in self._texts.batch(batch.rows)))

    def identity(self, batch: Batch) -> Tensor:
        """Returns (B,) int64 that are equal for the same partner: one study, or texts that are equal with prompt."""
        identity = self.pairs.echo.study if batch.kind == "ecg_echo" else self._text_identity
        return torch.from_numpy(identity[batch.rows]).to(self._device)

    def targets(self, studies: np.ndarray) -> gaussian_heads.GaussianTensor:
        """Returns the teacher's Gaussians of some studies."""
        mean, log_var = self._data.target_mean[studies], self._data.target_log_var[studies]
        return gaussian_heads.GaussianTensor(
            torch.from_numpy(mean).to(self._device), torch.from_numpy(log_var).to(self._device)
        )


def equal_text_numbers(texts: Iterable[str]) -> np.ndarray:
    """Numbers texts by their first occurrence, equal texts alike: b, a, b gives 0, 1, 0; int64."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)


def prompt_texts(pairs: TextPairs) -> list[str]:
    """Returns the texts with their prompts."""
    return [text_encoder.wrap(text, method) for text, method in zip(pairs.text, pairs.method, strict=True)]
