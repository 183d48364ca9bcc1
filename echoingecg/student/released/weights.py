"""Reads a file of weights as tensors, and checks that they are exactly those of a layout."""

import pickle
import warnings
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from echoingecg.common import ContractError, StoreError
from echoingecg.student.checkpoint import Weights


def read_weights(path: Path) -> Weights:
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


def check_layout(weights: Weights, expected: Weights, origin: Path) -> None:
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


def without_shared_memory(weights: Weights) -> Weights:
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
