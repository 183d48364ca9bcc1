"""What a disk may hold after a power cut: only what was flushed is sure.

`Disk` watches a folder while a program of this process works in it. At every call that flushes or renames it can copy
the folder as a power cut at that moment could leave it: a file whose bytes were not flushed is whole, empty, cut short,
of zeros or gone; a name that was not flushed in its folder is there, gone, or still names the file before it.
"""

import os
import random
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

Signature = tuple[int, int]  # size, time of the content


class Disk:
    """A folder whose flushes are watched.

    Args:
        root: the folder.
        at: called before every call that flushes or renames, with its number from 0.
    """

    def __init__(self, root: Path, at: Callable[["Disk", int], None]) -> None:
        self.root, self.calls, self._at = root, 0, at
        self._flushed: dict[int, Signature] = {}  # inode of a file -> what of it is on the disk
        self._names: dict[int, dict[str, int]] = {}  # inode of a folder -> names in it and their inodes
        self._replaced: dict[int, bytes] = {}  # content of flushed files whose name was given to another
        self._is_copying = False

    @contextmanager
    def watched(self) -> Iterator["Disk"]:
        real = {name: getattr(os, name) for name in ("fsync", "rename", "replace", "sync")}

        def fsync(descriptor: int) -> None:
            self._before()
            real["fsync"](descriptor)
            self._flush(Path(f"/proc/self/fd/{descriptor}").resolve())

        def move(name: str) -> Callable[..., None]:
            def moved(source: Any, target: Any, **others: Any) -> None:
                self._before()
                if Path(target).is_file() and self.root in Path(target).parents:
                    status = Path(target).stat()
                    if self._flushed.get(status.st_ino) == _signature(status):
                        self._replaced[status.st_ino] = Path(target).read_bytes()
                real[name](source, target, **others)

            return moved

        def sync() -> None:
            self._before()
            for path in (self.root, *self.root.rglob("*")):
                self._flush(path)

        with (
            mock.patch("os.fsync", fsync), mock.patch("os.rename", move("rename")),
            mock.patch("os.replace", move("replace")), mock.patch("os.sync", sync),
        ):  # fmt: skip
            yield self

    def _before(self) -> None:
        if self._is_copying:
            return
        self._is_copying = True
        try:
            self._at(self, self.calls)
            self.calls += 1
        finally:
            self._is_copying = False

    def _flush(self, path: Path) -> None:
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                self._names[status.st_ino] = {item.name: item.inode() for item in os.scandir(path)}
            else:
                self._flushed[status.st_ino] = _signature(status)
        except FileNotFoundError:
            pass

    def cut(self, target: Path, draw: random.Random) -> None:
        """Copies the folder as a power cut could leave it now."""
        target.mkdir(parents=True)
        self._copy(self.root, target, draw)

    def _copy(self, folder: Path, target: Path, draw: random.Random) -> None:
        sure = self._names.get(folder.stat().st_ino, {})
        for item in sorted(os.scandir(folder), key=lambda item: item.name):
            path = Path(item.path)
            if sure.get(item.name) != item.inode() and draw.random() < 0.5:
                if (before := self._replaced.get(sure.get(item.name, 0))) is not None:
                    (target / item.name).write_bytes(before)
                continue
            if item.is_dir(follow_symlinks=False):
                (target / item.name).mkdir()
                self._copy(path, target / item.name, draw)
                continue
            content: bytes | None = path.read_bytes()
            if self._flushed.get(item.inode()) != _signature(path.stat()) and path.suffix != ".lock":
                content = _damaged(path.read_bytes(), draw)
            if content is not None:
                (target / item.name).write_bytes(content)
                (target / item.name).chmod(path.stat().st_mode)


def _damaged(content: bytes, draw: random.Random) -> bytes | None:
    match draw.randrange(5):
        case 0:
            return None
        case 1:
            return b""
        case 2:
            return content[: draw.randrange(len(content) + 1)]
        case 3:
            return bytes(len(content))
    return content


def _signature(status: os.stat_result) -> Signature:
    return status.st_size, status.st_mtime_ns
