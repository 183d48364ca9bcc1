"""The student artefact: a trained student is written to the files of data_contracts.student and read back.

There is no pickle in it, and reading needs no network.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from data_contracts.manifest import checked_file
from data_contracts.student import ARCHITECTURE, HISTORY, SCALER, TOKENIZER, WEIGHTS
from echoingecg.common import ContractError, StoreError, save_tensors, write_json
from echoingecg.recipe import StudentSettings
from echoingecg.student import inference, loss, train
from echoingecg.student.data.transforms import Scaler
from echoingecg.student.encoders.trunk import trunk_of_card
from echoingecg.student.model.student import Student, TrunkEncoder
from echoingecg.student.model.text_encoder import LaterBackbone, backbone_from_config, text_config

_BACKBONE = "text_encoder.backbone."  # of stored names
_TOWERS = "student."  # left out of stored names, so that the towers have the released names


def save(trained: train.TrainedStudent, folder: Path) -> None:
    """Writes the student artefact's files; equal students give equal bytes.

    Args:
        trained: the result of training.
        folder: must exist.
    """
    objective = trained.objective
    weights = {stored_name(name): tensor for name, tensor in objective.state_dict().items()}
    save_tensors(weights, folder / WEIGHTS)
    architecture: dict[str, Any] = {
        "student": trained.settings.model_dump(mode="json"),
        "text_config": text_config(objective.student.text_encoder.backbone),
    }
    if isinstance(encoder := objective.student.ecg_encoder, TrunkEncoder):
        architecture["encoder"] = encoder.trunk.card
    write_json(folder / ARCHITECTURE, architecture)
    write_json(folder / SCALER, trained.scaler.as_json())
    (folder / TOKENIZER).write_text(trained.tokenizer.to_str(pretty=True), encoding="utf-8")
    HISTORY.write(trained.history, folder)


def load(
    folder: Path, device: str = "cpu", ecg_alone: bool = False, allow_encoder: str = ""
) -> inference.LoadedStudent:
    """Reads a student artefact. Needs no network for any text tower.

    Args:
        folder: holds the artefact's files.
        device: 'cpu' or 'cuda'.
        ecg_alone: read the text tower's weights with the first text, if there is one. To train or to export, read all.
        allow_encoder: `package.module:Class` that may be imported, where the student's card names it as its encoder.

    Raises:
        StoreError: a file is absent or unreadable.
        DamagedError: a file is not the one that was published.
        ContractError: weights, architecture or scaler are not those of a student.
        UserError: the encoder is code that is not allowed, or needs a package that is not installed.
    """
    architecture = _read_json(checked_file(folder, ARCHITECTURE))
    settings = _settings(architecture)
    scaler = replace(Scaler.from_json(_read_json(checked_file(folder, SCALER))), fewer_leads=settings.leads.share > 0)
    weights = _read_weights(checked_file(folder, WEIGHTS))
    tokenizer = _read_tokenizer(checked_file(folder, TOKENIZER))
    config = _text_config(architecture)
    if ecg_alone and "hidden_size" in config:  # models that call their width otherwise are read at once
        later = {name: weights.pop(name) for name in list(weights) if name.startswith(_BACKBONE)}
        backbone: nn.Module = LaterBackbone(config, partial(_read_backbone, architecture, later))
    else:
        backbone = _backbone(architecture)
    trunk = trunk_of_card(settings, architecture.get("encoder"), allow_encoder)
    objective = loss.Objective(Student(settings.model, backbone, trunk), settings)
    check_weights(objective, weights)
    objective.load_state_dict({name: weights[stored_name(name)] for name in objective.state_dict()})
    return inference.LoadedStudent(settings, objective.to(device).eval(), tokenizer, scaler, torch.device(device))


@torch.inference_mode(False)
def _read_backbone(architecture: Mapping[str, Any], weights: Mapping[str, Tensor]) -> nn.Module:
    backbone = _backbone(architecture)
    named = {name.removeprefix(_BACKBONE): tensor for name, tensor in weights.items()}
    check_weights(backbone, named)
    backbone.load_state_dict(named)
    return backbone


def stored_name(name: str) -> str:
    """Returns the name in the weights file of a parameter or buffer of Objective."""
    return name.removeprefix(_TOWERS)


def check_weights(objective: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Checks names and shapes.

    Raises:
        ContractError: the weights have not exactly the stored names and the shapes of the objective.
    """
    expected = {stored_name(name): tuple(tensor.shape) for name, tensor in objective.state_dict().items()}
    for fault, names in (
        ("lack", expected.keys() - weights.keys()),
        ("hold unknown", weights.keys() - expected.keys()),
    ):
        if names:
            raise ContractError(f"{WEIGHTS}: the weights {fault} '{min(names)}' ({len(names)} such names in all)")
    for name, shape in expected.items():
        if tuple(weights[name].shape) != shape:
            raise ContractError(f"{WEIGHTS}: '{name}' has shape {tuple(weights[name].shape)}, expected {shape}")


def _settings(architecture: Mapping[str, Any]) -> StudentSettings:
    values = architecture.get("student")
    try:
        return StudentSettings.model_validate(values)
    except ValidationError as fault:
        raise ContractError(f"{ARCHITECTURE}: 'student' is not a student section of a recipe") from fault


def _text_config(architecture: Mapping[str, Any]) -> dict[str, Any]:
    config = architecture.get("text_config")
    if not isinstance(config, dict) or "model_type" not in config:
        raise ContractError(f"{ARCHITECTURE}: 'text_config' is not a transformers configuration")
    return config


def _backbone(architecture: Mapping[str, Any]) -> nn.Module:
    try:
        return backbone_from_config(_text_config(architecture))
    except (TypeError, ValueError) as fault:
        raise ContractError(
            f"{ARCHITECTURE}: this version of transformers cannot build 'text_config' ({type(fault).__name__})"
        ) from fault


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise _unreadable(path, fault) from fault
    if not isinstance(values, dict):
        raise ContractError(f"{path.name}: holds no mapping")
    return values


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as fault:
        raise _unreadable(path, fault) from fault


def _read_tokenizer(path: Path) -> Tokenizer:
    values = _read_json(path)
    if not isinstance(values.get("model"), dict):
        raise ContractError(f"{path.name}: holds no tokenizer")
    return Tokenizer.from_str(json.dumps(values))


def _unreadable(path: Path, fault: Exception) -> StoreError:
    detail = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
    return StoreError(f"student: {path.name} cannot be read ({detail}): train again or restore the artefact")
