"""The text tower: prompts around texts, their tokens, and a BERT of transformers with Gaussian heads."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from echoingecg.common import TrainingError
from echoingecg.recipe import ModelSettings
from echoingecg.recipe.stages import BUILT_IN_TEXT
from echoingecg.student.model.gaussian_heads import GaussianHeads, GaussianTensor

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
DIGITS = "0123456789"
FEED_FORWARD = 4  # inner width of a transformer layer as a multiple of its width, as in BERT
_TEXTS_AT_ONCE = 10_000  # texts tokenised at once: bounds the memory of the encodings


@dataclass(frozen=True)
class TextTower:
    """A BERT and its tokenizer."""

    backbone: nn.Module
    tokenizer: Tokenizer

    @property
    def pad(self) -> int:
        """The token id that pads a batch; the mask hides it."""
        return padding(self.backbone)


class LaterBackbone(nn.Module):
    """Stands for a backbone that is not read before the first text: reading ECGs needs neither it nor transformers.

    Args:
        config: a result of `text_config`.
        read: makes the backbone, with its weights.
    """

    def __init__(self, config: Mapping[str, Any], read: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.config = SimpleNamespace(**config)
        self.read = read


class TextEncoder(GaussianHeads):
    """Encodes token ids as Gaussians.

    Args:
        backbone: a transformers encoder; its configuration gives the width.
        settings: embed_dim and gpo_dim are used.
    """

    def __init__(self, backbone: nn.Module, settings: ModelSettings) -> None:
        config: Any = backbone.config
        super().__init__(config.hidden_size, settings.embed_dim, settings.gpo_dim)
        self.backbone = backbone

    def forward(self, ids: Tensor, mask: Tensor) -> GaussianTensor:
        """Encodes wrapped, tokenised texts as Gaussians.

        Args:
            ids: (B, T) int64.
            mask: (B, T) int64, 1 for a token, 0 for the padding at the end.
        """
        if isinstance(self.backbone, LaterBackbone):
            self.backbone = self.backbone.read().to(ids.device).eval()
        states = self.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
        return self.pool(states, mask.sum(1))


def text_tower(settings: ModelSettings, texts: Sequence[str]) -> TextTower:
    """Makes the text tower that a recipe names.

    Args:
        settings: `text` names it; text_tokens, and text_* for the built-in tower, give its size.
        texts: wrapped training texts, from which the built-in tokenizer learns its words.

    Raises:
        TrainingError: the named model cannot be loaded or cannot hold text_tokens tokens.
    """
    from transformers import AutoModel, BertConfig

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
        attention_probs_dropout_prob=0.0,  # other dropouts are enough; this one takes a third of a step's time
    )
    return TextTower(AutoModel.from_config(config), tokenizer)


def _pretrained(settings: ModelSettings) -> TextTower:
    from transformers import AutoModel, AutoTokenizer

    try:
        backbone = AutoModel.from_pretrained(settings.text, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(
            settings.text, use_fast=True, trust_remote_code=False
        ).backend_tokenizer
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


def backbone_from_config(config: Mapping[str, Any]) -> nn.Module:
    """Makes a backbone with random weights. Needs no network.

    Args:
        config: a result of `text_config`.
    """
    from transformers import AutoConfig, AutoModel

    return AutoModel.from_config(AutoConfig.for_model(**config))


def text_config(backbone: nn.Module) -> dict[str, Any]:
    """Returns the backbone's configuration as JSON values, without the version of transformers."""
    config: Any = backbone.config
    return {name: value for name, value in config.to_diff_dict().items() if name != "transformers_version"}


def padding(backbone: nn.Module) -> int:
    """Returns the backbone's padding token; 0 if it names none."""
    config: Any = backbone.config
    return int(getattr(config, "pad_token_id", 0) or 0)


def wrap(text: str, method: str) -> str:
    """Puts the prompt around a text (METHOD, text encoder); the text is lower-cased, the prompt is not.

    Args:
        text: a report, or a sentence to compare with.
        method: the examination that it describes, ECG or ECHO.
    """
    return f"Given the data for {method}. The corresponding {method} report is : {text.lower()}\n\n."


def built_in_tokenizer(texts: Iterable[str], max_tokens: int) -> Tokenizer:
    """Makes a word-level tokenizer whose vocabulary is the words of `texts` and the ten digits.

    Text is lower-cased. Each punctuation mark and each digit is a token, so that numbers which are not in the
    texts can be read. The vocabulary is sorted by count, then by word: equal texts give equal ids.

    Args:
        texts: wrapped training texts.
        max_tokens: longer texts are cut; [CLS] and [SEP] count.
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
    """N tokenised texts in one array, one text behind the other.

    Attributes:
        ids: (tokens,) int32.
        start: (N + 1,) int64; text i is ids[start[i]:start[i + 1]].
        pad: token id that pads a batch.
    """

    ids: np.ndarray
    start: np.ndarray
    pad: int

    @classmethod
    def from_texts(cls, tokenizer: Tokenizer, texts: Sequence[str], pad: int) -> "TokenisedTexts":
        """Tokenises wrapped texts."""
        pieces: list[np.ndarray] = []
        for first in range(0, len(texts), _TEXTS_AT_ONCE):
            encoded = tokenizer.encode_batch(list(texts[first : first + _TEXTS_AT_ONCE]))
            pieces.extend(np.array(encoding.ids, dtype=np.int32) for encoding in encoded)
        start = np.cumsum([0, *(len(piece) for piece in pieces)], dtype=np.int64)
        return cls(np.concatenate([np.empty(0, np.int32), *pieces]), start, pad)

    def __len__(self) -> int:
        return len(self.start) - 1

    def batch(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Returns padded ids and attention mask of some texts, both (B, longest) int64; 1 marks a token."""
        length = self.start[rows + 1] - self.start[rows]
        position = np.arange(length.max())
        mask = position < length[:, None]
        ids = np.full(mask.shape, self.pad, dtype=np.int64)
        ids[mask] = self.ids[(self.start[rows, None] + position)[mask]]
        return torch.from_numpy(ids), torch.from_numpy(mask.astype(np.int64))
