"""Bytes that survive a power cut."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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
