"""What every artefact must look like, from data_contracts."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import TypeVar

import data_contracts
from data_contracts.conventions import STAGES
from data_contracts.quarantine import REASONS
from data_contracts.tables import ArrayContract, TableContract

Contract = TypeVar("Contract")


def page() -> str:
    """Markdown: a part a module, a table a file or pool."""
    lines = ["# Artefacts' contracts", "", "Checked on every write and every read.", ""]
    seen: set[int] = set()
    for module in _modules():
        tables, arrays = list(_new(module, TableContract, seen)), list(_new(module, ArrayContract, seen))
        if not tables and not arrays:
            continue
        version = getattr(module, "CONTRACT_VERSION", None)
        name = module.__name__.rpartition(".")[2]
        lines += [f"## {name}{f' (contract {version})' if version else ''}", "", _first_lines(module), ""]
        for table in tables:
            lines += [f"### `{table.filename}`", "", *_columns(table), ""]
        if arrays:
            lines += ["### arrays of the pool", "", "| array | dimensions | type | unit | |", "|---|---|---|---|---|"]
            lines += [
                _row(f"`{one.name}`", ", ".join(one.dims), one.dtype, one.unit, one.description) for one in arrays
            ]
            lines += [""]
    lines += ["## Reasons of refusals", "", "| code | |", "|---|---|"]
    lines += [_row(f"`{code}`", says) for code, says in REASONS.items()]
    return "\n".join(lines) + "\n"


def _modules() -> Iterator[ModuleType]:
    """Of the stages in their order, then the others."""
    others = sorted({one.name for one in pkgutil.iter_modules(data_contracts.__path__)} - set(STAGES))
    for name in ("quarantine", *STAGES, *others):
        yield import_module(f"data_contracts.{name}")


def _new(module: ModuleType, kind: type[Contract], seen: set[int]) -> Iterator[Contract]:
    """The module's contracts of a kind that no module before it had."""
    for one in vars(module).values():
        if isinstance(one, kind) and id(one) not in seen:
            seen.add(id(one))
            yield one


def _columns(table: TableContract) -> Iterator[str]:
    if table.unique:
        yield f"One row for each {', '.join(f'`{one}`' for one in table.unique)}."
        yield ""
    yield from ("| column | type | unit | |", "|---|---|---|---|")
    for one in table.schema:
        about = {key.decode(): value.decode() for key, value in (one.metadata or {}).items()}
        kind = f"{one.type}{' or null' if one.nullable else ''}"
        yield _row(f"`{one.name}`", kind, about.get("unit", ""), about.get("description", ""))


def _first_lines(module: ModuleType) -> str:
    return (module.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"
