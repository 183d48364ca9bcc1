"""The text tower of released weights: the BERT's configuration and its tokenizer, neither of them in the file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoTokenizer

from echoingecg.common import ContractError, StoreError
from echoingecg.recipe import ModelSettings
from echoingecg.recipe.stages import Count

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"


class BertSizes(BaseModel):
    """What shapes a BERT encoder, under the names of transformers' config.json. Defaults: BERT-base, BioBERT."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    model_type: Literal["bert"] = "bert"
    vocab_size: Count
    hidden_size: Count = 768
    num_hidden_layers: int = Field(12, ge=1, le=256)
    num_attention_heads: Count = 12
    intermediate_size: Count = 3072
    max_position_embeddings: Count = 512
    type_vocab_size: Count = 2
    hidden_act: Literal["gelu", "gelu_new", "relu", "silu"] = "gelu"
    layer_norm_eps: float = Field(1e-12, gt=0)
    pad_token_id: int = Field(0, ge=0)
    hidden_dropout_prob: float = Field(0.1, ge=0, lt=1)
    attention_probs_dropout_prob: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _heads(self) -> "BertSizes":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size is not a multiple of num_attention_heads")
        if self.pad_token_id >= self.vocab_size:
            raise ValueError("pad_token_id is beyond the vocabulary")
        return self

    def as_config(self) -> dict[str, Any]:
        """As text.backbone_from_config takes it."""
        return self.model_dump()


def read_config(path: Path, needed: bool) -> Mapping[str, Any]:
    """A config.json: of a BERT, or with one under 'bert' and perhaps our ModelSettings under 'model'.

    Args:
        path: the file.
        needed: whether its absence is a fault; otherwise it is as if it were empty.

    Raises:
        StoreError: it cannot be read.
        ContractError: it holds no JSON mapping.
    """
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError as fault:
        if not needed:
            return {}
        raise StoreError(f"{path}: no such file") from fault
    except OSError as fault:
        raise StoreError(f"{path}: cannot be read: {fault.strerror}") from fault
    except (ValueError, RecursionError) as fault:
        raise ContractError(f"{path}: not JSON") from fault
    if not isinstance(values, dict):
        raise ContractError(f"{path}: holds no mapping")
    return values


def bert_sizes(config: Mapping[str, Any], vocabulary: int, width: int, origin: Path) -> BertSizes:
    """The BERT of a config.json; without one BERT-base, if the weights have its width.

    Args:
        config: from `read_config`.
        vocabulary: rows of the weights' word embedding.
        width: columns of the same.
        origin: where the configuration came from, for errors.

    Raises:
        ContractError: the configuration is of no BERT; or there is none and the width is not BERT-base's,
            so that the number of attention heads is unknown: no shape of the weights tells it.
    """
    found = config.get("bert", config if "num_attention_heads" in config else None)
    if found is None:
        if width == BertSizes.model_fields["hidden_size"].default:
            return BertSizes(vocab_size=vocabulary)
        raise ContractError(
            f"the text tower is {width} wide, not a BERT-base, and the weights do not tell its attention heads: "
            f"give its transformers configuration with --text-config, or lay it as {CONFIG} beside the weights"
        )
    try:
        return BertSizes.model_validate(found)
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ContractError(
            f"{origin}: not a BERT's configuration: {field}: {first['msg']}".replace(": :", ":")
        ) from fault


def sizes_of(backbone: nn.Module) -> BertSizes:
    """The configuration of a text tower, in full: transformers leaves out what equals its own defaults.

    Raises:
        ContractError: the tower is no BERT, so the released layout has no names for it.
    """
    found: Any = backbone.config
    try:
        return BertSizes.model_validate(found.to_dict())
    except ValidationError as fault:
        raise ContractError(
            f"the text tower ({found.model_type}) is not a plain BERT: the released layout has names for no other"
        ) from fault


def model_settings(config: Mapping[str, Any], origin: Path) -> ModelSettings | None:
    """The architecture that `export-released` wrote under 'model'; None for files of other hands."""
    if "model" not in config:
        return None
    try:
        return ModelSettings.model_validate(config["model"])
    except ValidationError as fault:
        raise ContractError(f"{origin}: 'model' is not the model section of a recipe") from fault


def read_tokenizer(text: str, vocabulary: int, tokens: int) -> Tokenizer:
    """The tokenizer of the text tower, from this machine alone: nothing is downloaded.

    Args:
        text: a folder with tokenizer.json or a BERT's vocab.txt, or a Hugging Face name that is in the
            local cache.
        vocabulary: rows of the weights' word embedding.
        tokens: longer texts are cut.

    Raises:
        StoreError: there is none; says how to bring the files.
        ContractError: it knows another number of words: it is the tokenizer of another model.
    """
    tokenizer = _local(Path(text) / TOKENIZER) or _cached(text)
    if (found := tokenizer.get_vocab_size()) != vocabulary:
        raise ContractError(
            f"the tokenizer of '{text}' knows {found} words, the weights hold {vocabulary}: "
            "give the tokenizer of the weights' own text model with --text"
        )
    tokenizer.no_padding()
    tokenizer.enable_truncation(tokens)
    return tokenizer


def _local(path: Path) -> Tokenizer | None:
    """From a tokenizer.json as it stands: AutoTokenizer would rebuild parts of it."""
    if not path.is_file():
        return None
    values = read_config(path, needed=True)
    if not isinstance(values.get("model"), dict):
        raise ContractError(f"{path}: holds no tokenizer")
    return Tokenizer.from_str(json.dumps(values))


def _cached(text: str) -> Tokenizer:
    try:
        return AutoTokenizer.from_pretrained(text, use_fast=True, local_files_only=True).backend_tokenizer
    except (OSError, ValueError, AttributeError) as fault:
        raise StoreError(
            f"no tokenizer of '{text}' on this machine. Run `hf download {text}` here, or on a machine with a network "
            f"`hf download {text} --local-dir FOLDER`, copy FOLDER here and give --text FOLDER"
        ) from fault
