"""A machine whose clock is set while its processes run: they see the jumps, and files written since bear its times."""

import shutil
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("jump.c")
_SIZE = 16 * 2 * 8  # what jump.c maps


@dataclass
class Clock:
    """Of processes that are started with its environment.

    Attributes:
        environment: theirs.
    """

    environment: dict[str, str]
    _file: Path
    _jumps: list[int] = field(default_factory=list)

    def set_ahead(self, seconds: int) -> None:
        """From now on it is so far ahead of the true one."""
        self._jumps += [int(time.time()), seconds]
        with self._file.open("r+b") as file:
            file.write(struct.pack(f"{len(self._jumps)}q", *self._jumps))


def clock(folder: Path) -> Clock:
    """One that has not jumped yet."""
    if not (compiler := shutil.which("cc")):
        pytest.skip("needs a C compiler")
    library, file = folder / "jump.so", folder / "jumps"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"], check=True)
    file.write_bytes(bytes(_SIZE))
    return Clock({"LD_PRELOAD": str(library), "JUMPS": str(file)}, file)
