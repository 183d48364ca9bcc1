"""What names an export: its folder, and the site that its patients are of."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from echoingecg.common import UserError

_SITE = re.compile(r"\w[\w .-]{0,39}")


@dataclass(frozen=True)
class SitedExport:
    """One export.

    Attributes:
        folder: its root.
        site: name of the site that all its patients are of; empty where it states sites itself, or stands alone.
    """

    folder: Path
    site: str = ""

    def __str__(self) -> str:
        return f"{self.site}={self.folder}" if self.site else str(self.folder)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `FOLDER` or `SITE=FOLDER`; a folder whose own name holds `=` is a folder.

        Raises:
            UserError: no such folder, or no name of a site.
        """
        site, equals, folder = text.partition("=")
        if not equals or Path(text).expanduser().is_dir():
            site, folder = "", text
        elif not _SITE.fullmatch(site.strip()):
            raise UserError(f"export {text}: '{site}' is no name of a site: 1 to 40 letters, digits, blanks, . or -")
        if not Path(folder).expanduser().is_dir():
            raise UserError(f"export {folder}: not a folder")
        return cls(Path(folder).expanduser().resolve(), site.strip())


def check_different(exports: Sequence[SitedExport]) -> None:
    """Raises UserError where a folder is given twice."""
    folders = [export.folder for export in exports]
    if repeated := [folder for folder in folders if folders.count(folder) > 1]:
        raise UserError(f"export {repeated[0]}: given twice")
