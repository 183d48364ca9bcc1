"""Files that survive a kill or a power cut, and fingerprints of values, files and arrays (SHA-256)."""

import errno
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_contracts.conventions import ORIGIN_FILE, ORIGINS
from echoingecg.common.errors import StoreError

if TYPE_CHECKING:
    from torch import Tensor

VERSION_LENGTH = 16  # hexadecimal digits: 64 bits, no collision expected before billions of versions
DICOM_MARK = b"DICM"  # behind a preamble of 128 bytes


def read_origin(folder: Path) -> str | None:
    """Reads whose data a folder holds, or was made of: its ORIGIN_FILE. None where there is no such file.

    Raises:
        StoreError: the file cannot be read, or does not name one of ORIGINS.
    """
    path = folder / ORIGIN_FILE
    try:
        stated = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as fault:
        raise StoreError(f"{path}: cannot be read ({type(fault).__name__})") from fault
    if not isinstance(stated, dict) or stated.get("origin") not in ORIGINS:
        raise StoreError(f'{path}: must be {{"origin": ...}} with one of {", ".join(ORIGINS)}')
    origin: str = stated["origin"]
    return origin


def write_origin(folder: Path, origin: str) -> None:
    """Writes whose data a folder holds, or was made of. Raises OSError."""
    (folder / ORIGIN_FILE).write_text(json.dumps({"origin": origin}) + "\n", encoding="utf-8")


@contextmanager
def replace_atomically(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yields a temporary file beside `path` to write to. At the end it is flushed to disk and replaces `path`.

    After a kill or a power cut, `path` is either complete or as it was before. A kill leaves a file named
    `.<name>-<pid>` behind.

    Args:
        path: replaced if it exists.
        mode: permissions, reduced by the umask of the process.
    """
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)
        temporary.touch(mode)
        yield temporary
        flush_to_disk(temporary)
        temporary.replace(path)
        flush_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str, mode: int = 0o666) -> None:
    """Writes a UTF-8 text file. After a kill or a power cut it is either complete or as it was before.

    Args:
        path: replaced if it exists.
        text: content of the file.
        mode: permissions, reduced by the umask of the process.
    """
    with replace_atomically(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes readable JSON with sorted keys: equal values give equal bytes. Raises ValueError on NaN."""
    path.write_text(json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n", encoding="utf-8")


def save_tensors(tensors: "dict[str, Tensor]", path: Path, about: dict[str, str] | None = None) -> None:
    """Writes tensors as a safetensors file and waits until it is on the disk.

    Args:
        tensors: tensors by name.
        path: file to write.
        about: metadata of the file.

    Raises:
        OSError: the file cannot be written. The safetensors library itself would raise an error of its own.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=about)
    except SafetensorError as fault:
        if code := re.search(r"os error (\d+)", str(fault)):
            raise OSError(int(code[1]), os.strerror(int(code[1]))) from fault
        raise
    flush_to_disk(path)


def flush_to_disk(path: Path) -> None:
    """Waits until a file, or the list of names in a folder, is on the disk (fsync). Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Waits until all that a folder holds, at any depth, is on the disk (fsync). Raises OSError."""
    for path in (*folder.rglob("*"), folder):
        flush_to_disk(path)


def flush_names(folder: Path, root: Path) -> None:
    """Waits until the names in a folder, and in those above it up to the one that holds `root`, are on the disk."""
    for place in (folder, *folder.parents):
        if place == root.parent:
            with suppress(PermissionError):  # it is not ours
                flush_to_disk(place)
            return
        flush_to_disk(place)


def open_regular(path: str | Path) -> io.FileIO:
    """Opens a file for reading, unbuffered. A pipe would wait for ever, a device may have no end: both are refused.

    Raises:
        OSError: the file cannot be opened, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return io.FileIO(descriptor)


def is_dicom(head: bytes) -> bool:
    """Returns whether a file that begins with these bytes is a DICOM file (PS3.10, 7.1). Needs its first 132 bytes."""
    return head.startswith(DICOM_MARK, 128)


def fingerprint(value: Any) -> str:
    """Returns the first 16 hexadecimal digits of the SHA-256 of `value` as canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:VERSION_LENGTH]


def canonical_json(value: Any) -> str:
    """Returns JSON with sorted keys and no spaces: equal values give equal text. Raises ValueError on NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def hash_files(paths: Iterable[Path]) -> str:
    """Returns the SHA-256 (64 hexadecimal digits) of the bytes of all files, one after another. Raises OSError."""
    digest = hashlib.sha256()
    for path in paths:
        with open_regular(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def hash_array(array: np.ndarray) -> str:
    """Returns the SHA-256 (64 hexadecimal digits) of an array's bytes in C order, without its dtype and shape."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def key_rows(digests: list[str]) -> np.ndarray:
    """SHA-256 digests (64 hexadecimal digits each) as uint8 (digest, 32)."""
    return np.frombuffer(bytes.fromhex("".join(digests)), dtype=np.uint8).reshape(len(digests), 32)


def hexadecimal(digests: np.ndarray) -> list[str]:
    """SHA-256 digests, uint8 (digest, 32), as 64 hexadecimal digits each."""
    digits = digests.tobytes().hex()
    return [digits[start : start + 64] for start in range(0, len(digits), 64)]
