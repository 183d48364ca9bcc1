"""Nothing outside the export's folder is opened, whatever its tables or links say."""

import os
import stat
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from echoingecg.common.errors import Refusal


class Inside:
    """Looks up files below a folder.

    Args:
        root: the export.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._admits = cache(self._check_folder)

    def stat(self, path: str) -> os.stat_result:
        """Status of a regular file, links followed as long as they stay below the root.

        Args:
            path: normalised, relative to the root.

        Raises:
            Refusal: outside_export, missing_file, or unreadable when the system refuses to tell.
        """
        if path.startswith(("/", "../")) or path in ("..", "."):
            raise Refusal("outside_export", "the listed path leaves the export")
        try:
            self._admits(os.path.dirname(path))  # noqa: PTH120 - strings: a million paths pass here
            status = os.lstat(self._full(path))
            if stat.S_ISLNK(status.st_mode):
                self._check_link(path)
                status = os.stat(self._full(path))  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError) as fault:
            raise Refusal("missing_file", "the listed file is not there") from fault
        except OSError as fault:
            raise Refusal("unreadable", f"the system says: {fault.strerror}") from fault
        if not stat.S_ISREG(status.st_mode):
            raise Refusal("missing_file", "no regular file stands at the listed path")
        return status

    def state_of(self, folder: str, names: Sequence[str]) -> tuple[int, int] | None:
        """Size and time, as `size_and_time`, of regular files in a folder; None when one is not there.

        It follows no link of a name and opens nothing, so it does not ask where the folder leads.
        """
        try:
            states = [os.lstat(f"{self._root}/{folder}/{name}") for name in names]
        except OSError:
            return None
        return size_and_time(states) if all(stat.S_ISREG(one.st_mode) for one in states) else None

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _check_folder(self, folder: str) -> None:
        """Raises Refusal when a link on the way to the folder leaves the root. OSError as lstat."""
        if not folder:
            return
        self._admits(os.path.dirname(folder))  # noqa: PTH120
        if stat.S_ISLNK(os.lstat(self._full(folder)).st_mode):
            self._check_link(folder)

    def _check_link(self, path: str) -> None:
        target = os.path.realpath(self._full(path))
        if os.path.commonpath((target, self._root)) != self._root:
            raise Refusal("outside_export", "a link leaves the export")


def size_and_time(states: Sequence[os.stat_result]) -> tuple[int, int]:
    """Bytes of the files together, and the latest of their times in ns."""
    return sum(one.st_size for one in states), max(one.st_mtime_ns for one in states)
