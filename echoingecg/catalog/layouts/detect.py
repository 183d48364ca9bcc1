"""Detects which layout an export has."""

from pathlib import Path

from echoingecg.catalog.layouts import generic, mimic_iv, public_datasets
from echoingecg.catalog.layouts.base import Layout
from echoingecg.catalog.layouts.tables import Tables, find_tables
from echoingecg.common import ExportError

_LAYOUTS = (mimic_iv.LAYOUT, generic.LAYOUT, public_datasets.PTB_XL, public_datasets.ECHONET_DYNAMIC)
_UNREADABLE = (public_datasets.ECHONEXT,)


def find_layout(export: Path, name: str, links: bool = False) -> tuple[Layout, Tables]:
    """Returns the layout of an export and the layout's tables that are present.

    Args:
        export: root folder.
        name: a layout's name, or `auto` for the layout whose lists of files are present.
        links: whether a table may be a link out of the export.
        links: whether tables may be links out of the export.

    Raises:
        ExportError: the folder is missing, it holds no list of files, or it holds the lists of two layouts.
    """
    if not export.is_dir():
        raise ExportError(f"export {export}: no such folder")
    candidates = [layout for layout in (*_LAYOUTS, *_UNREADABLE) if name in ("auto", layout.name)]
    matches = [(layout, tables) for layout in candidates if (tables := _tables(export, layout, links))]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        wanted = "; ".join(f"{layout.name}: {' or '.join(layout.lists)}" for layout in candidates if layout in _LAYOUTS)
        raise ExportError(f"export {export}: no list of files; looked for {wanted}")
    both = " and ".join(layout.name for layout, _ in matches)
    raise ExportError(f"export {export}: has the lists of {both}; name one as catalog.layout in the recipe")


def _tables(export: Path, layout: Layout, links: bool) -> Tables:
    """Returns the layout's tables that are present; an empty mapping if no list of files is among them."""
    tables = find_tables(export, layout.tables, layout.depth, layout.other_names, links)
    return tables if any(name in tables for name in layout.lists) else {}
