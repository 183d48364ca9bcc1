"""What live runs hold: artefacts that `artefacts gc` leaves alone. A run holds what it makes and reads until it ends.

Each process of a run has a file in `<workspace>/leases` and a lock on it (flock), which the kernel frees when the
process dies, however it dies. The file lists artefacts, one a line, or `*` for all of them; `-` stands for the run. A
name is added before the artefact is looked for, and both gc and the adding take turns: so nothing goes between the look
and the use.
"""

import errno
import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from tasks.base.workspace import Workspace, writing_to

EVERYTHING = "*"
RUN = "-"  # what every run holds from its start, so that it shows before it has named an artefact
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass
class _Lease:
    """What the runs of this process hold in a workspace: a locked file, made with the first name."""

    folder: Path
    runs: int = 0
    names: set[str] = field(default_factory=set)
    path: Path | None = None
    descriptor: int = -1

    def add(self, name: str) -> None:
        """Adds a name. Needs the turn."""
        if self.path is None:
            self.path = self.folder / f"{os.getpid()}-{secrets.token_hex(4)}"
            self.descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        os.write(self.descriptor, f"{name}\n".encode())
        self.names.add(name)

    def give_back(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            os.close(self.descriptor)


_own: dict[Path, _Lease] = {}  # by workspace
_changing = threading.Lock()


@contextmanager
def held(workspace: Workspace, *names: str) -> Iterator[None]:
    """Holds what the store finds and publishes in this process, for as long as the context lasts.

    In a workspace that cannot be written to nothing is held, as gc can delete nothing there either.

    Args:
        workspace: holds the artefacts.
        names: held from the start, such as EVERYTHING.
    """
    with _changing:
        lease = _own.setdefault(workspace.root, _Lease(_folder(workspace)))
        lease.runs += 1
    try:
        for name in (RUN, *names) if workspace.root.is_dir() else names:
            with holding(workspace, name):
                pass
        yield
    finally:
        with _changing:
            lease.runs -= 1
            if not lease.runs:
                del _own[workspace.root]
                lease.give_back()


@contextmanager
def holding(workspace: Workspace, name: str) -> Iterator[None]:
    """Adds an artefact to this process's lease, if it has one, and looks for it, or publishes it, in the context."""
    lease = _own.get(workspace.root)
    if lease is None or name in lease.names:
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(_turn(workspace))
            lease.add(name)
        except OSError as fault:
            if fault.errno not in _READ_ONLY:
                raise
        yield


@contextmanager
def all_held(workspace: Workspace) -> Iterator[frozenset[str]]:
    """Names of the artefacts that live runs hold; in the context no run can add one."""
    if not workspace.root.is_dir():
        yield frozenset()
        return
    with writing_to(workspace.root), _turn(workspace):
        names: set[str] = set()
        for path in _folder(workspace).glob("[!.]*"):
            with path.open(encoding="ascii") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    names.update(file.read().split())
                else:
                    path.unlink()  # its process is dead
        yield frozenset(names)


def _folder(workspace: Workspace) -> Path:
    return workspace.root / "leases"


def _turn(workspace: Workspace) -> FileLock:
    _folder(workspace).mkdir(parents=True, exist_ok=True)
    return FileLock(_folder(workspace) / ".lock")
