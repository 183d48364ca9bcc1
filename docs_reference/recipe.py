"""The recipe's fields, from its pydantic models."""

import types
import typing
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from echoingecg.recipe import Recipe


def sections(model: type[BaseModel] = Recipe, name: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section as (dotted name, model), the recipe's own order; a list of sections ends in `[]`."""
    for key, one in model.model_fields.items():
        dotted = f"{name}.{key}" if name else key
        for inner, many in _models(one.annotation):
            yield dotted + "[]" * many, inner
            yield from sections(inner, dotted + "[]" * many)


def _models(kind: typing.Any, many: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    """The sections within a type, and whether there may be several."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind, many
    elif typing.get_origin(kind) in (types.UnionType, typing.Union, tuple, list, typing.Annotated):
        for one in typing.get_args(kind):
            yield from _models(one, many or typing.get_origin(kind) in (tuple, list))


def page() -> str:
    """Markdown: a table a section."""
    lines = [
        "# Recipe",
        "",
        "Every field, its default and what it means. A recipe names what differs from the defaults;",
    ]
    lines += ["`echoingecg recipe demo` prints a whole one. `--set section.field=value` replaces a field of a run."]
    for name, model in sections():
        lines += ["", f"## `{name}`", ""]
        if model.__doc__:
            lines += [model.__doc__.strip().splitlines()[0], ""]
        lines += ["| field | type | default | |", "|---|---|---|---|"]
        lines += [_row(key, one) for key, one in model.model_fields.items() if not list(_models(one.annotation))]
    return "\n".join(lines) + "\n"


def _row(name: str, one: FieldInfo) -> str:
    default = "needed" if one.is_required() else f"`{one.get_default(call_default_factory=True)!r}`"
    cells = (f"`{name}`", f"`{_kind(one.annotation)}`{_limits(one)}", default, one.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def _kind(kind: typing.Any) -> str:
    """A type as a person reads it."""
    if kind is None or kind is types.NoneType:
        return "null"
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _kind(inner[0])
    if origin is typing.Literal:
        return " or ".join(map(repr, inner))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_kind, inner))
    if origin in (tuple, list):
        return f"list of {_kind(inner[0])}"
    return getattr(kind, "__name__", str(kind))


def _limits(one: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(rule, name)}" for rule in one.metadata for name, sign in signs.items() if _has(rule, name)
    ]
    return f" {', '.join(found)}" if found else ""


def _has(rule: object, name: str) -> bool:
    return getattr(rule, name, None) is not None
