"""Released weights in and out: the published key layout, checked name by name, copied bit for bit.

In: a torch state dict (read with weights_only) or safetensors. Out: safetensors, never a pickle.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from tokenizers import Tokenizer

from data_contracts.student import HISTORY
from echoingecg.common import ContractError, StoreError, canonical_json, write_json
from echoingecg.recipe import ModelSettings, StudentSettings
from echoingecg.student import checkpoint, inference, loss, store, train
from echoingecg.student.data.transforms import Scaler
from echoingecg.student.model.student import Student
from echoingecg.student.model.text_encoder import backbone_from_config
from echoingecg.student.released import text_tower
from echoingecg.student.released.scaler import read_released_scaler
from echoingecg.student.released.weights import check_layout, own_memory, read_weights

# Raised by hand when the same files would give another artefact.
CODE_VERSION = 1

WEIGHTS = "echoingecg.safetensors"
SCALER = "ecg_scaler.json"
NOTE = "released.json"

_BIOBERT = text_tower.BertSizes(vocab_size=28_996)
_IMPORTED = "imported"  # `text` of a tower that is not BioBERT: its own name is not in the files
_TOWERS = ("ecg", "text")
_HEADS = ("linear", "std_linear")
_POOLS = ("gpool", "std_gpool")
# Where the sizes of the published architecture are read: name of the weight, axis. Several places each, and
# the commonest size counts: so one damaged key is named as such, instead of making all others look wrong.
_SIZES = {
    "init_dim": (("ecg_encoder.conv1.weight", 0), ("ecg_encoder.bn1.weight", 0), ("ecg_encoder.bn1.bias", 0)),
    "embed_dim": tuple((f"{tower}_encoder.{head}.bias", 0) for tower in _TOWERS for head in _HEADS),
    "gpo_dim": tuple((f"{tower}_encoder.{gpo}.linear.weight", 1) for tower in _TOWERS for gpo in _POOLS),
    "vocab_size": (("text_encoder.backbone.embeddings.word_embeddings.weight", 0),),
    "hidden_size": (
        ("text_encoder.backbone.pooler.dense.bias", 0),
        *((f"text_encoder.{head}.weight", 1) for head in _HEADS),
    ),
}


@dataclass(frozen=True)
class ReleasedModel:
    """Released files, read and checked, ready to become an artefact.

    Attributes:
        settings: the architecture that the weights imply; the rest as published.
        bert: configuration of the text tower.
        weights: every parameter and buffer, under the released names; may still lie in the file.
        tokenizer: of the text tower.
        scaler: mV, in the order of conventions.LEADS.
    """

    settings: StudentSettings
    bert: text_tower.BertSizes
    weights: checkpoint.Weights
    tokenizer: Tokenizer
    scaler: Scaler

    def digests(self) -> dict[str, str]:
        """SHA-256 of what the weights and the scaler do not hold: configuration and tokenizer."""
        parts = {"text_config": canonical_json(self.bert.as_config()), "tokenizer": self.tokenizer.to_str()}
        return {name: sha256(text.encode()).hexdigest() for name, text in parts.items()}

    def counts(self) -> dict[str, int]:
        """Tensors, and the numbers in them."""
        return {"tensors": len(self.weights), "numbers": sum(one.numel() for one in self.weights.values())}


def read_released(weights: Path, scaler: Path, text: str, config: Path | None = None) -> ReleasedModel:
    """Reads released files. Nothing in them is run, nothing is downloaded.

    Args:
        weights: torch state dict, or safetensors, in the released layout.
        scaler: StandardScaler as joblib or pickle wrote it, or `ecg_scaler.json` of an export.
        text: folder or cached Hugging Face name of the text tower's tokenizer.
        config: config.json of the text tower; None takes the one beside the weights, or BERT-base.

    Raises:
        StoreError: a file is absent or unreadable.
        ContractError: a file holds something else, or a key is missing, unknown, misshaped, of another
            dtype or not finite.
    """
    found = read_weights(weights)
    origin = config or weights.with_name(text_tower.CONFIG)
    values = text_tower.read_config(origin, needed=config is not None)
    model, bert = implied_architecture(found, values, weights, origin)
    check_layout(found, expected_layout(model, bert), weights)
    return ReleasedModel(
        StudentSettings(model=model),
        bert,
        found,
        text_tower.read_tokenizer(text, bert.vocab_size, model.text_tokens),
        read_released_scaler(scaler),
    )


def implied_architecture(
    weights: checkpoint.Weights, config: Mapping[str, Any], origin: Path, config_origin: Path
) -> tuple[ModelSettings, text_tower.BertSizes]:
    """The architecture of the released layout in the sizes that the weights have.

    Args:
        weights: by released name; only shapes are read.
        config: what config.json says; empty when there is none.
        origin: the weights' file, for errors.
        config_origin: the configuration's file, for errors.

    Raises:
        ContractError: the sizes are impossible, or the configuration is of no BERT or needed and not there.
    """
    defaults = {**ModelSettings().model_dump(), **_BIOBERT.model_dump()}
    sizes = {size: _commonest(weights, places, defaults[size]) for size, places in _SIZES.items()}
    bert = text_tower.bert_sizes(config, sizes.pop("vocab_size"), sizes.pop("hidden_size"), config_origin)
    return text_tower.model_settings(config, config_origin) or _published(sizes, bert, origin), bert


def expected_layout(model: ModelSettings, bert: text_tower.BertSizes) -> checkpoint.Weights:
    """Names, shapes and dtypes that an architecture leads to, as tensors without memory."""
    return _empty_student(model, bert).state_dict()


def save_released(released: ReleasedModel, folder: Path) -> None:
    """Writes the student artefact's files, and a note of what the released files do not hold.

    Args:
        released: from `read_released`.
        folder: exists.
    """
    student = _empty_student(released.settings.model, released.bert)
    student.load_state_dict(own_memory(released.weights), assign=True)
    trained = train.TrainedStudent(
        settings=released.settings,
        objective=loss.Objective(student, released.settings),
        tokenizer=released.tokenizer,
        scaler=released.scaler,
        history=HISTORY.build([]),
        best_epoch=0,
        steps=0,
    )
    store.save(trained, folder)
    starts = {"scale": released.settings.scale_start, "shift": released.settings.shift_start}
    note = "The released layout holds neither scale nor shift of the match logit: these are the published starts."
    write_json(folder / NOTE, {"note": note, **starts, **released.counts()})


def load_released(released: ReleasedModel, device: str = "cpu") -> inference.LoadedStudent:
    """Makes a student that is ready to embed from released files, without an artefact.

    Args:
        released: from `read_released`.
        device: 'cpu' or 'cuda'.
    """
    student = Student(released.settings.model, backbone_from_config(released.bert.as_config()))
    student.load_state_dict(released.weights)
    objective = loss.Objective(student, released.settings).to(device).eval()
    return inference.LoadedStudent(
        released.settings, objective, released.tokenizer, released.scaler, torch.device(device)
    )


def export_released(student: inference.LoadedStudent, folder: Path) -> list[Path]:
    """Writes a student in the released layout, as safetensors and JSON.

    `echoingecg.safetensors` holds the released names alone: scale and shift of the match logit are no part
    of that layout. `config.json` and `tokenizer.json` are what an import needs besides.

    Args:
        student: any student.
        folder: made if absent.

    Returns:
        The files.

    Raises:
        StoreError: the folder holds something already.
        ContractError: the text tower is no BERT.
    """
    towers = student.objective.student
    bert = text_tower.sizes_of(towers.text_encoder.backbone)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty: name a new folder")
    weights = {name: tensor.cpu().contiguous() for name, tensor in towers.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    write_json(folder / SCALER, student.scaler.as_json())
    write_json(
        folder / text_tower.CONFIG, {"model": student.settings.model.model_dump(mode="json"), "bert": bert.as_config()}
    )
    (folder / text_tower.TOKENIZER).write_text(student.tokenizer.to_str(pretty=True), encoding="utf-8")
    return [folder / name for name in (WEIGHTS, SCALER, text_tower.CONFIG, text_tower.TOKENIZER)]


def _empty_student(model: ModelSettings, bert: text_tower.BertSizes) -> Student:
    with torch.device("meta"):
        return Student(model, backbone_from_config(bert.as_config()))


def _commonest(weights: checkpoint.Weights, places: Iterable[tuple[str, int]], default: int) -> int:
    """The size most of the places have; the published one where all are missing, which the check will then say."""
    found = [weights[name].shape[axis] for name, axis in places if name in weights and weights[name].ndim > axis]
    return Counter(found).most_common(1)[0][0] if found else default


def _published(sizes: Mapping[str, int], bert: text_tower.BertSizes, origin: Path) -> ModelSettings:
    """The published architecture in these sizes.

    Its numbers of blocks are not read off the file: one that lacks its last block would pass for a smaller model.
    """
    published = ModelSettings()
    try:
        return ModelSettings(
            **sizes,
            text=published.text if bert == _BIOBERT else _IMPORTED,
            text_tokens=min(published.text_tokens, bert.max_position_embeddings),
        )
    except ValidationError as fault:
        raise ContractError(f"{origin}: not the released layout: sizes {dict(sizes)} are impossible") from fault
