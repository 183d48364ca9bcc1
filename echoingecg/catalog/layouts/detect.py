"""Detects which layout an export has."""

from pathlib import Path

from echoingecg.catalog.layouts import challenge, code_15, echonet, echonext, generic, mimic_iv, music, ptb_xl
from echoingecg.catalog.layouts.base import Layout
from echoingecg.catalog.layouts.tables import Tables, find_tables
from echoingecg.common import ExportError

_LAYOUTS = (
    mimic_iv.LAYOUT, generic.LAYOUT, ptb_xl.LAYOUT, echonet.PEDIATRIC, echonet.DYNAMIC, echonet.LVH,
)  # fmt: skip
# A list of these may stand beside tables of the user's own, which come first.
_OFTEN_CONVERTED = (code_15.LAYOUT, echonext.LAYOUT, music.LAYOUT)


def find_layout(export: Path, name: str, links: bool = False) -> tuple[Layout, Tables]:
    """Returns the layout of an export and the layout's tables that are present.

    Args:
        export: root folder.
        name: a layout's name, or `auto` for the layout whose lists of files are present.
        links: whether tables may be links out of the export.

    Raises:
        ExportError: the folder is missing, it holds no list of files, or it holds the lists of two layouts.
    """
    if not export.is_dir():
        raise ExportError(f"export {export}: no such folder")
    candidates, converted = (
        [layout for layout in layouts if name in ("auto", layout.name)] for layouts in (_LAYOUTS, _OFTEN_CONVERTED)
    )
    matches = _matches(export, candidates, links) or _matches(export, converted, links)
    candidates += converted
    if not matches and name in ("auto", challenge.LAYOUT.name):
        if headers := challenge.find_headers(export, links, only_challenge=name == "auto"):
            return challenge.LAYOUT, headers
        candidates.append(challenge.LAYOUT)
    if len(matches) == 1:
        return matches[0]
    if not matches:
        wanted = "; ".join(f"{layout.name}: {' or '.join(layout.lists)}" for layout in candidates)
        raise ExportError(f"export {export}: no list of files; looked for {wanted}")
    both = " and ".join(layout.name for layout, _ in matches)
    raise ExportError(f"export {export}: has the lists of {both}; name one as catalog.layout in the recipe")


def _matches(export: Path, layouts: list[Layout], links: bool) -> list[tuple[Layout, Tables]]:
    """Returns the layouts whose lists are present, with their tables."""
    matches: list[tuple[Layout, Tables]] = []
    for layout in layouts:
        is_other = any(layout.name in match.other_layouts for match, _ in matches)
        if not is_other and (tables := _tables(export, layout, links)):
            matches.append((layout, tables))
    return matches


def _tables(export: Path, layout: Layout, links: bool) -> Tables:
    """Returns the layout's tables that are present; an empty mapping if no list of files is among them."""
    tables = find_tables(export, layout.tables, layout.depth, layout.other_names, links, layout.separator)
    return tables if any(name in tables for name in layout.lists) else {}
