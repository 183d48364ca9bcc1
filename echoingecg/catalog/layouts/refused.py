"""A public data set that is recognised and refused, with what is missing and where to read on.

- MUSIC 1.0.1 (PhysioNet; Martin-Yebra et al., 2024): X, Y and Z leads, a table with semicolons.
"""

from collections.abc import Callable
from typing import NoReturn

from echoingecg.catalog.layouts import base
from echoingecg.catalog.layouts.tables import Tables
from echoingecg.common import ExportError


def _refused(name: str, lists: tuple[str, ...], message: str) -> base.Layout:
    refuse: Callable[[Tables], NoReturn] = _refuser(message)
    return base.Layout(name, 1, lists, lists, refuse, refuse)


def _refuser(message: str) -> Callable[[Tables], NoReturn]:
    def refuse(tables: Tables) -> NoReturn:
        raise ExportError(message)

    return refuse


_HOW = "docs/howto/public_cohorts.md"

MUSIC = _refused(
    "music",
    ("subject-info.csv",),
    "MUSIC cannot be read: its ECGs have the leads X, Y and Z, and twelve leads cannot be had from them without a "
    f"guess; its table is separated by semicolons: {_HOW}",
)
