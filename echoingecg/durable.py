"""Bytes that survive a power cut."""

import os
from pathlib import Path


def to_disk(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk (fsync). Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
