"""What every artefact must look like, from data_contracts."""

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import TypeVar

from data_contracts.arrays import ArrayContract
from data_contracts.conventions import STAGES
from data_contracts.quarantine import REASONS
from data_contracts.tables import TableContract

MODULES = (*STAGES, "quarantine", "readings")
Contract = TypeVar("Contract")


def page() -> str:
    """Markdown: a part a stage, a table a file or pool."""
    lines = [
        "# Artefacts' contracts",
        "",
        "Checked on every write and every read. Columns may hold nulls where it says so.",
    ]
    for name in MODULES:
        module = import_module(f"data_contracts.{name}")
        version = getattr(module, "CONTRACT_VERSION", None)
        lines += ["", f"## {name}{f' (contract {version})' if version else ''}", "", _first_lines(module)]
        for table in _distinct(module, TableContract):
            lines += ["", f"### `{table.filename}`", ""]
            if table.unique:
                lines += [f"One row for each {', '.join(f'`{one}`' for one in table.unique)}.", ""]
            lines += ["| column | type | unit | |", "|---|---|---|---|"]
            for one in table.schema:
                about = {key.decode(): value.decode() for key, value in (one.metadata or {}).items()}
                kind = f"{one.type}{', null allowed' if one.nullable else ''}"
                lines.append(_row(f"`{one.name}`", kind, about.get("unit", ""), about.get("description", "")))
        arrays = list(_distinct(module, ArrayContract))
        if arrays:
            lines += [
                "",
                "### arrays of the pool",
                "",
                "| array | dimensions | type | unit | |",
                "|---|---|---|---|---|",
            ]
            lines += [_row(f"`{one.name}`", ", ".join(one.dims), one.dtype, one.unit, one.says) for one in arrays]
    lines += ["", "## Reasons of refusals", "", "| code | |", "|---|---|"]
    lines += [_row(f"`{code}`", says) for code, says in REASONS.items()]
    return "\n".join(lines) + "\n"


def _distinct(module: ModuleType, kind: type[Contract]) -> Iterator[Contract]:
    """The module's contracts of a kind, each once, those of other modules left to them."""
    seen: set[int] = set()
    for name, one in vars(module).items():
        if isinstance(one, kind) and id(one) not in seen and not name.startswith("_"):
            seen.add(id(one))
            yield one


def _first_lines(module: ModuleType) -> str:
    return (module.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"
