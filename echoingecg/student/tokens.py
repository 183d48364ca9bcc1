"""Texts as tokens: the prompt wrap, the built-in tokenizer, and ragged token batches."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
DIGITS: Final = "0123456789"
_CHUNK: Final = 10_000  # texts tokenised at once: bounds the memory of the encodings


def wrap(text: str, method: str) -> str:
    """The prompt around every text (METHOD, text encoder): the text is lower-cased, the frame is not.

    Args:
        text: report or prompt.
        method: what it speaks of, ECG or ECHO.
    """
    return f"Given the data for {method}. The corresponding {method} report is : {text.lower()}\n\n."


def built_in_tokenizer(texts: Iterable[str], max_tokens: int) -> Tokenizer:
    """A word-level tokenizer that knows the words of `texts` and every digit.

    Lower case; punctuation and digits are tokens of their own, so that 25 and 52 share their parts
    with numbers never seen. The vocabulary is sorted by count, then by word: equal texts, equal ids.

    Args:
        texts: wrapped training texts.
        max_tokens: longer texts are cut, [CLS] and [SEP] included.
    """
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    splitter = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)]
    )
    counts = Counter(dict.fromkeys(DIGITS, 0))
    for text in texts:
        counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    words = sorted(counts, key=lambda word: (-counts[word], word))
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


@dataclass(frozen=True)
class TokenisedTexts:
    """N texts, their tokens end to end.

    Attributes:
        ids: (tokens,) int32.
        start: (N + 1,) int64; text i is ids[start[i]:start[i + 1]].
        pad: token that fills a batch.
    """

    ids: np.ndarray
    start: np.ndarray
    pad: int

    @classmethod
    def of(cls, tokenizer: Tokenizer, texts: Sequence[str], pad: int) -> "TokenisedTexts":
        """Tokenises wrapped texts once, up front."""
        pieces: list[np.ndarray] = []
        for first in range(0, len(texts), _CHUNK):
            encoded = tokenizer.encode_batch(list(texts[first : first + _CHUNK]))
            pieces.extend(np.array(one.ids, dtype=np.int32) for one in encoded)
        start = np.cumsum([0, *(len(piece) for piece in pieces)], dtype=np.int64)
        return cls(np.concatenate([np.empty(0, np.int32), *pieces]), start, pad)

    def __len__(self) -> int:
        return len(self.start) - 1

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Padded ids and attention mask of some texts, both (B, longest) int64; 1 marks a token."""
        length = self.start[rows + 1] - self.start[rows]
        position = np.arange(length.max())
        mask = position < length[:, None]
        ids = np.full(mask.shape, self.pad, dtype=np.int64)
        ids[mask] = self.ids[(self.start[rows, None] + position)[mask]]
        return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))
