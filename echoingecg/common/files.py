"""Bytes that survive a power cut.

Versions from content: SHA-256 of canonical JSON, shortened.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def to_disk(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk (fsync). Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """A file beside `path` to write; at the end it takes its place, once it is on the disk.

    `path` is there whole or, after a kill or a power cut, as it was before. A kill leaves `.<name>-<pid>` behind.

    Args:
        path: replaced if it exists.
        mode: permissions, less what the process's umask takes away.
    """
    beside = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)
        beside.touch(mode)
        yield beside
        to_disk(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_whole(path: Path, text: str, mode: int = 0o666) -> None:
    """Writes a file that is there whole or, after a kill or a power cut, as it was before. `mode` as `replacing`."""
    with replacing(path, mode) as beside:
        beside.write_text(text, encoding="utf-8")


def save_tensors(tensors: "dict[str, Tensor]", path: Path, about: dict[str, str] | None = None) -> None:
    """Writes tensors as safetensors and waits for the disk.

    Raises:
        OSError: as any other file would; the library alone raises an error of its own.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=about)
    except SafetensorError as fault:
        if code := re.search(r"os error (\d+)", str(fault)):
            raise OSError(int(code[1]), os.strerror(int(code[1]))) from fault
        raise
    to_disk(path)


VERSION_LENGTH = 16  # hexadecimal digits: 64 bits, no collision before billions of versions


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text. Raises ValueError on NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def fingerprint(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:VERSION_LENGTH]


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 (64 hexadecimal digits) of the files' bytes, one after another. Raises OSError."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def hash_array(array: np.ndarray) -> str:
    """SHA-256 (64 hexadecimal digits) of a C-ordered array's bytes; dtype and shape not included."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
