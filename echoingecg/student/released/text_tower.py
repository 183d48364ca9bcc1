"""The text tower of released weights: its BERT configuration and tokenizer, which the weights' file does not hold."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from tokenizers import Tokenizer
from torch import nn

from echoingecg.common import ContractError, StoreError
from echoingecg.recipe import ModelSettings
from echoingecg.recipe.stages import Count

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"


class BertSizes(BaseModel):
    """The sizes of a BERT encoder, with the names of transformers' config.json. Defaults are BERT-base and BioBERT."""

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
        """Returns the argument of text_encoder.backbone_from_config."""
        return self.model_dump()


def read_config(path: Path, needed: bool) -> Mapping[str, Any]:
    """Reads a config.json: of a BERT, or of an export, with the BERT under 'bert' and ModelSettings under 'model'.

    Args:
        path: the file.
        needed: True makes its absence an error; False then gives an empty mapping.

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
    """Returns the sizes of a config.json's BERT; without one those of BERT-base, if the weights have its width.

    Args:
        config: from `read_config`.
        vocabulary: rows of the weights' word embedding.
        width: columns of the weights' word embedding.
        origin: file of the configuration, for errors.

    Raises:
        ContractError: the configuration is not of a BERT; or there is none and the width is not BERT-base's. The
            number of attention heads is then unknown, since no shape of the weights depends on it.
    """
    bert = config.get("bert", config if "num_attention_heads" in config else None)
    if bert is None:
        if width == BertSizes.model_fields["hidden_size"].default:
            return BertSizes(vocab_size=vocabulary)
        raise ContractError(
            f"the text tower is {width} wide, not a BERT-base, and the weights do not tell its attention heads: "
            f"give its transformers configuration with --text-config, or lay it as {CONFIG} beside the weights"
        )
    try:
        return BertSizes.model_validate(bert)
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ContractError(
            f"{origin}: not a BERT's configuration: {field}: {first['msg']}".replace(": :", ":")
        ) from fault


def sizes_of(backbone: nn.Module) -> BertSizes:
    """Returns the full configuration of a text tower; transformers itself leaves out its default values.

    Raises:
        ContractError: the tower is not a BERT, so the released layout has no names for it.
    """
    config: Any = backbone.config
    try:
        return BertSizes.model_validate(config.to_dict())
    except ValidationError as fault:
        raise ContractError(
            f"the text tower ({config.model_type}) is not a plain BERT: the released layout has names for no other"
        ) from fault


def model_settings(config: Mapping[str, Any], origin: Path) -> ModelSettings | None:
    """Returns the architecture that `export-released` wrote under 'model'; None for other files."""
    if "model" not in config:
        return None
    try:
        return ModelSettings.model_validate(config["model"])
    except ValidationError as fault:
        raise ContractError(f"{origin}: 'model' is not the model section of a recipe") from fault


def read_tokenizer(text: str, vocabulary: int, tokens: int) -> Tokenizer:
    """Reads the tokenizer of the text tower from this machine; nothing is downloaded.

    Args:
        text: a folder with tokenizer.json or a BERT's vocab.txt, or a Hugging Face name that is in the
            local cache.
        vocabulary: rows of the weights' word embedding.
        tokens: longer texts are cut.

    Raises:
        StoreError: there is none; the message says how to copy the files.
        ContractError: its vocabulary has another size, so it is the tokenizer of another model.
    """
    tokenizer = _from_file(Path(text) / TOKENIZER) or _from_cache(text)
    if (size := tokenizer.get_vocab_size()) != vocabulary:
        raise ContractError(
            f"the tokenizer of '{text}' knows {size} words, the weights hold {vocabulary}: "
            "give the tokenizer of the weights' own text model with --text"
        )
    tokenizer.no_padding()
    tokenizer.enable_truncation(tokens)
    return tokenizer


def _from_file(path: Path) -> Tokenizer | None:
    """Reads a tokenizer.json unchanged: AutoTokenizer would rebuild parts of it."""
    if not path.is_file():
        return None
    values = read_config(path, needed=True)
    if not isinstance(values.get("model"), dict):
        raise ContractError(f"{path}: holds no tokenizer")
    return Tokenizer.from_str(json.dumps(values))


def _from_cache(text: str) -> Tokenizer:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            text, use_fast=True, local_files_only=True, trust_remote_code=False
        ).backend_tokenizer
    except (OSError, ValueError, AttributeError) as fault:
        raise StoreError(
            f"no tokenizer of '{text}' on this machine. Run `hf download {text}` here, or on a machine with a network "
            f"`hf download {text} --local-dir FOLDER`, copy FOLDER here and give --text FOLDER"
        ) from fault
