"""Released weights in the published layout: import and export, checked name by name, copied bit for bit.

An import reads a torch state dict (with weights_only) or safetensors. An export is safetensors, never a pickle.
"""

import pickle
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor

from data_contracts.student import HISTORY
from echoingecg.common import ContractError, StoreError, canonical_json, write_json
from echoingecg.recipe import ModelSettings, StudentSettings
from echoingecg.student import checkpoint, inference, loss, store, train
from echoingecg.student.data.transforms import Scaler
from echoingecg.student.model.student import Student
from echoingecg.student.model.text_encoder import backbone_from_config
from echoingecg.student.released import text_tower
from echoingecg.student.released.scaler import read_released_scaler

# Raise it by hand when the same files give another artefact.
CODE_VERSION = 1

WEIGHTS = "echoingecg.safetensors"
SCALER = "ecg_scaler.json"
NOTE = "released.json"

_BIOBERT = text_tower.BertSizes(vocab_size=28_996)
_IMPORTED = "imported"  # `text` of a tower that is not BioBERT: the files do not hold its name
_TOWERS = ("ecg", "text")
_HEADS = ("linear", "std_linear")
_POOLS = ("gpool", "std_gpool")
# Where each size of the published architecture is read: name of the weight, axis. The most frequent size is taken, so
# that one damaged key is named in the error, and not all others.
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
    """The content of released files, checked.

    Attributes:
        settings: the architecture that the weights imply; other settings as published.
        bert: configuration of the text tower.
        weights: every parameter and buffer, by released name; may be mapped from the file.
        tokenizer: of the text tower.
        scaler: mV, in the order of conventions.LEADS.
    """

    settings: StudentSettings
    bert: text_tower.BertSizes
    weights: checkpoint.Weights
    tokenizer: Tokenizer
    scaler: Scaler

    def digests(self) -> dict[str, str]:
        """Returns the SHA-256 of the text tower's configuration and of its tokenizer."""
        parts = {"text_config": canonical_json(self.bert.as_config()), "tokenizer": self.tokenizer.to_str()}
        return {name: sha256(text.encode()).hexdigest() for name, text in parts.items()}

    def counts(self) -> dict[str, int]:
        """Returns how many tensors there are, and how many numbers in them."""
        return {"tensors": len(self.weights), "numbers": sum(tensor.numel() for tensor in self.weights.values())}


def read_released(weights: Path, scaler: Path, text: str, config: Path | None = None) -> ReleasedModel:
    """Reads released files. No code in them is run, and nothing is downloaded.

    Args:
        weights: torch state dict, or safetensors, in the released layout.
        scaler: a StandardScaler that joblib or pickle wrote, or `ecg_scaler.json` of an export.
        text: folder or cached Hugging Face name of the text tower's tokenizer.
        config: config.json of the text tower; None for the one beside the weights, or for BERT-base.

    Raises:
        StoreError: a file is absent or unreadable.
        ContractError: a file holds something else, or a key is missing, unknown, of another shape or dtype,
            or not finite.
    """
    tensors = read_weights(weights)
    origin = config or weights.with_name(text_tower.CONFIG)
    values = text_tower.read_config(origin, needed=config is not None)
    model, bert = implied_architecture(tensors, values, weights, origin)
    check_layout(tensors, expected_layout(model, bert), weights)
    return ReleasedModel(
        StudentSettings(model=model, same_partner="negative"),
        bert,
        tensors,
        text_tower.read_tokenizer(text, bert.vocab_size, model.text_tokens),
        read_released_scaler(scaler),
    )


def implied_architecture(
    weights: checkpoint.Weights, config: Mapping[str, Any], origin: Path, config_origin: Path
) -> tuple[ModelSettings, text_tower.BertSizes]:
    """Finds the architecture of the released layout from the sizes of the weights.

    Args:
        weights: by released name; only shapes are read.
        config: values of config.json; empty if there is none.
        origin: file of the weights, for errors.
        config_origin: file of the configuration, for errors.

    Raises:
        ContractError: the sizes are impossible, or the configuration is needed and absent or not of a BERT.
    """
    defaults = {**ModelSettings().model_dump(), **_BIOBERT.model_dump()}
    sizes = {size: _most_frequent_size(weights, places, defaults[size]) for size, places in _SIZES.items()}
    bert = text_tower.bert_sizes(config, sizes.pop("vocab_size"), sizes.pop("hidden_size"), config_origin)
    return text_tower.model_settings(config, config_origin) or _published(sizes, bert, origin), bert


def expected_layout(model: ModelSettings, bert: text_tower.BertSizes) -> checkpoint.Weights:
    """Returns the names, shapes and dtypes of an architecture's weights, as tensors without memory."""
    return _empty_student(model, bert).state_dict()


def save_released(released: ReleasedModel, folder: Path) -> None:
    """Writes the student artefact's files, and a note about what the released files do not hold.

    Args:
        released: from `read_released`.
        folder: must exist.
    """
    student = _empty_student(released.settings.model, released.bert)
    student.load_state_dict(without_shared_memory(released.weights), assign=True)
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

    `echoingecg.safetensors` holds the released names only: scale and shift of the match logit are not in that
    layout. An import also needs `config.json` and `tokenizer.json`.

    Args:
        student: any student.
        folder: made if absent.

    Returns:
        The paths of the files.

    Raises:
        StoreError: the folder is not empty.
        ContractError: the text tower is not a BERT, or the ECG encoder not the paper's.
    """
    if student.trunk is not None:
        raise ContractError(f"the released layout holds the paper's encoder, not '{student.settings.encoder}'")
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


def read_weights(path: Path) -> checkpoint.Weights:
    """Reads a plain state dict: `.safetensors`, else torch with weights_only. Tensors may be mapped from the file.

    Raises:
        StoreError: the file cannot be read.
        ContractError: it holds something other than names and tensors.
    """
    try:
        size = path.stat().st_size
        values = load_file(path) if path.suffix == ".safetensors" else _torch_load(path)
    except OSError as fault:
        raise StoreError(f"{path}: cannot be read: {fault.strerror or 'damaged'}") from fault
    except SafetensorError as fault:
        raise ContractError(f"{path}: not a safetensors file") from fault
    _check_plain(values, path)
    weights = {name: tensor.detach() for name, tensor in values.items()}
    # Views can have any size without holding as many numbers.
    if sum(tensor.nbytes for tensor in weights.values()) > size:
        raise ContractError(f"{path}: promises more numbers than the file holds")
    return weights


def check_layout(weights: checkpoint.Weights, expected: checkpoint.Weights, origin: Path) -> None:
    """Compares every key of the weights with the expected ones.

    Args:
        weights: from `read_weights`.
        expected: tensors with the right names, shapes and dtypes; their values are not read.
        origin: file, for errors.

    Raises:
        ContractError: one line, with the number and the first of the keys that are missing, unknown,
            of another shape or dtype, or not finite.
    """
    both = [name for name in expected if name in weights]
    shapes = {name: (tuple(weights[name].shape), tuple(expected[name].shape)) for name in both}
    dtypes = {name: (weights[name].dtype, expected[name].dtype) for name in both}
    faults = [
        *_fault("missing", [_shown(name) for name in expected if name not in weights]),
        *_fault("unknown", [_shown(name) for name in weights if name not in expected]),
        *_fault("misshaped", [_differs(name, *pair) for name, pair in shapes.items() if pair[0] != pair[1]]),
        *_fault("of another dtype", [_differs(name, *pair) for name, pair in dtypes.items() if pair[0] != pair[1]]),
    ]
    if not faults:
        faults = _fault("not finite", [_shown(name) for name in both if not weights[name].isfinite().all()])
    if faults:
        raise ContractError(f"{origin}: not the released layout of {len(expected)} keys: {'; '.join(faults)}")


def without_shared_memory(weights: checkpoint.Weights) -> checkpoint.Weights:
    """Returns contiguous tensors that share no memory, which safetensors requires; copies only where needed.

    cuDNN puts all weights of a recurrent layer into one block, and torch saves them as views of it.
    """
    users = Counter(tensor.untyped_storage().data_ptr() for tensor in weights.values())

    def alone(tensor: Tensor) -> bool:
        storage = tensor.untyped_storage()
        return tensor.is_contiguous() and storage.nbytes() == tensor.nbytes and users[storage.data_ptr()] == 1

    return {
        name: tensor if alone(tensor) else tensor.clone(memory_format=torch.contiguous_format)
        for name, tensor in weights.items()
    }


def _empty_student(model: ModelSettings, bert: text_tower.BertSizes) -> Student:
    with torch.device("meta"):
        return Student(model, backbone_from_config(bert.as_config()))


def _most_frequent_size(weights: checkpoint.Weights, places: Iterable[tuple[str, int]], default: int) -> int:
    """Returns the most frequent size; the published one if all places are missing, which a later check reports."""
    sizes = [weights[name].shape[axis] for name, axis in places if name in weights and weights[name].ndim > axis]
    return Counter(sizes).most_common(1)[0][0] if sizes else default


def _published(sizes: Mapping[str, int], bert: text_tower.BertSizes, origin: Path) -> ModelSettings:
    """Returns the published architecture with these sizes.

    The number of blocks is not read from the file: a file without its last block would look like a smaller model.
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


def _torch_load(path: Path) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # the result is checked: hints about the file do not help
            # Only the zip format can be mapped into memory; older files are read whole.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as fault:
        raise ContractError(
            f"{path}: refused: it holds more than tensors, or is no torch file; nothing was run. "
            "Only a plain state dict is read: torch.save(model.state_dict(), ...)"
        ) from fault
    except (RuntimeError, ValueError, EOFError, LookupError, TypeError, AttributeError) as fault:
        raise ContractError(f"{path}: damaged, or not a torch file ({type(fault).__name__})") from fault


def _check_plain(values: Any, path: Path) -> None:
    if not isinstance(values, Mapping):
        raise ContractError(f"{path}: holds a {type(values).__name__}, not a state dict: names and tensors")
    for name, value in values.items():
        if isinstance(value, Mapping):
            raise ContractError(f"{path}: the weights are wrapped under {_shown(name)}: save that part alone")
        plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        if not isinstance(name, str) or not plain:
            raise ContractError(f"{path}: {_shown(name)} is no dense tensor; only a plain state dict is read")
    if values and all(name.startswith("module.") for name in values):
        raise ContractError(f"{path}: every name starts with 'module.' (DataParallel): save model.module.state_dict()")


def _fault(kind: str, names: list[str]) -> list[str]:
    return [f"{len(names)} {kind}, first {names[0]}"] if names else []


def _differs(name: str, actual: object, expected: object) -> str:
    return f"{_shown(name)} is {actual}, expected {expected}"


def _shown(name: object) -> str:
    """Returns a name of a possibly hostile file as a short text on one line."""
    return repr(name)[:120]
