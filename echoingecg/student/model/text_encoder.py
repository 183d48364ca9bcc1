"""The text encoder: a BERT through transformers with Gaussian heads, and where its BERT comes from.

Texts as tokens: the prompt wrap, the built-in tokenizer, and ragged token batches.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, BertConfig

from echoingecg.common import TrainingError
from echoingecg.recipe import ModelSettings
from echoingecg.recipe.stages import BUILT_IN_TEXT
from echoingecg.student.model.gaussian_heads import GaussianHeads, GaussianTensor

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
DIGITS = "0123456789"
_CHUNK = 10_000  # texts tokenised at once: bounds the memory of the encodings


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


FEED_FORWARD = 4  # inner width of a transformer layer as a multiple of its width, as in BERT


@dataclass(frozen=True)
class TextTower:
    """A BERT and the tokenizer it was made for."""

    backbone: nn.Module
    tokenizer: Tokenizer

    @property
    def pad(self) -> int:
        """Token id that fills a batch; the mask hides it."""
        return padding(self.backbone)


def padding(backbone: nn.Module) -> int:
    """The backbone's padding token, 0 where it names none."""
    config: Any = backbone.config
    return int(config.pad_token_id or 0)


class TextEncoder(GaussianHeads):
    """Token ids to Gaussians.

    Args:
        backbone: a transformers encoder; its config gives the width.
        settings: embed_dim and gpo_dim count here.
    """

    def __init__(self, backbone: nn.Module, settings: ModelSettings) -> None:
        config: Any = backbone.config
        super().__init__(config.hidden_size, settings.embed_dim, settings.gpo_dim)
        self.backbone = backbone

    def forward(self, ids: Tensor, mask: Tensor) -> GaussianTensor:
        """Encodes wrapped, tokenised texts.

        Args:
            ids: (B, T) int64.
            mask: (B, T) int64, ones, then zeros where a shorter text is padded.
        """
        states = self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.pool(states, mask.sum(1))


def backbone_from_config(config: Mapping[str, Any]) -> nn.Module:
    """A backbone with random weights. Needs no network.

    Args:
        config: as `text_config` gives it.
    """
    return AutoModel.from_config(AutoConfig.for_model(**config))


def text_config(backbone: nn.Module) -> dict[str, Any]:
    """The backbone's configuration as JSON values, without what depends on the machine."""
    config: Any = backbone.config
    return {name: value for name, value in config.to_diff_dict().items() if name != "transformers_version"}


def text_tower(settings: ModelSettings, texts: Sequence[str]) -> TextTower:
    """The text tower that a recipe names.

    Args:
        settings: `text` names it; text_tokens and, for the built-in one, text_* size it.
        texts: wrapped training texts, from which the built-in tokenizer learns its words.

    Raises:
        TrainingError: the named model is not there or cannot hold text_tokens tokens.
    """
    if settings.text != BUILT_IN_TEXT:
        return _pretrained(settings)
    tokenizer = built_in_tokenizer(texts, settings.text_tokens)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=settings.text_width,
        num_hidden_layers=settings.text_layers,
        num_attention_heads=settings.text_heads,
        intermediate_size=FEED_FORWARD * settings.text_width,
        max_position_embeddings=settings.text_tokens,
        attention_probs_dropout_prob=0.0,  # the other dropouts suffice; this one costs a third of the step
    )
    return TextTower(AutoModel.from_config(config), tokenizer)


def _pretrained(settings: ModelSettings) -> TextTower:
    try:
        backbone = AutoModel.from_pretrained(settings.text)
        tokenizer = AutoTokenizer.from_pretrained(settings.text, use_fast=True).backend_tokenizer
    except (OSError, ValueError, AttributeError) as fault:
        first = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise TrainingError(
            f"student.model.text: '{settings.text}' cannot be loaded ({first}). On a machine with network run "
            f"`hf download {settings.text} --local-dir FOLDER`, copy FOLDER here and set student.model.text to its "
            f"path, or set it to '{BUILT_IN_TEXT}'"
        ) from fault
    longest = backbone.config.max_position_embeddings
    if settings.text_tokens > longest:
        raise TrainingError(
            f"student.model.text_tokens is {settings.text_tokens}, but '{settings.text}' holds at most {longest}"
        )
    tokenizer.no_padding()
    tokenizer.enable_truncation(settings.text_tokens)
    return TextTower(backbone.float(), tokenizer)
