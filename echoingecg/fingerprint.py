"""Versions from content: SHA-256 of canonical JSON, shortened."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

VERSION_LENGTH: Final = 16  # hexadecimal digits: 64 bits, no collision before billions of versions


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
