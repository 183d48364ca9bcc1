"""Where a workspace keeps things. Nothing else in the project builds these paths."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from data_contracts.conventions import Stage
from echoingecg.common.errors import StoreError

_ENVIRONMENT_FAULTS = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: check its owner, or choose another folder",
    errno.EPERM: "not permitted: check its owner, or choose another folder",
    errno.ENOTDIR: "a file stands where a folder is needed: choose another folder",
}


@dataclass(frozen=True)
class Workspace:
    """A folder that holds everything the pipeline makes.

    Attributes:
        root: absolute path.
    """

    root: Path

    @property
    def artefacts(self) -> Path:
        """Published versions, `<stage>/<version>/`."""
        return self.root / "artefacts"

    @property
    def shared_store(self) -> Path:
        """Names the store on S3 that this workspace has joined; absent where it stands alone."""
        return self.root / "shared_store"

    @property
    def shared_manifests(self) -> Path:
        """Manifests seen in that store, so that a listing asks for new ones alone."""
        return self.artefacts / ".shared"

    @property
    def pools(self) -> Path:
        """Icechunk repositories, `<stage>/<pool>/`."""
        return self.root / "pools"

    @property
    def private(self) -> Path:
        """Pseudonym key and file indexes: what must not leave the hospital. Mode 0700."""
        return self.root / "private"

    @property
    def decisions(self) -> Path:
        """Decisions between students, a JSON file each."""
        return self.root / "decisions"

    @property
    def drift(self) -> Path:
        """Verdicts on new exports, a folder each."""
        return self.root / "drift"

    @property
    def exports(self) -> Path:
        """Simulated exports."""
        return self.root / "exports"

    def scratch(self, stage: Stage, version: str) -> Path:
        """Checkpoints and leftovers of one version that is not published yet."""
        return self.root / "scratch" / stage / version


@contextmanager
def writing_to(root: Path) -> Iterator[None]:
    """Turns a full disk, a read-only or a forbidden folder into one line that says what to mend.

    Raises:
        StoreError: instead of the OSError. Other OSErrors pass.
    """
    try:
        yield
    except OSError as fault:
        says = _ENVIRONMENT_FAULTS.get(fault.errno or 0)
        if says is None:
            raise
        raise StoreError(f"{root}: {says}") from fault
