"""Why two versions of a stage differ, read from their manifests."""

from collections.abc import Mapping
from typing import Any

from data_contracts.manifest import Manifest


def differences(one: Manifest, other: Manifest) -> list[str]:
    """Lines such as `recipe.epochs: 5 -> 10`; empty when the artefacts are equal."""
    found = []
    for name in ("stage", "contract_version", "code_version", "recipe", "source", "inputs", "counts"):
        found += _compare(name, getattr(one, name), getattr(other, name))
    files = {name: file.sha256[:12] for name, file in one.files.items()}
    return found + _compare("files", files, {name: file.sha256[:12] for name, file in other.files.items()})


def _compare(where: str, one: Any, other: Any) -> list[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return [
            line
            for key in sorted({*one, *other})
            for line in _compare(f"{where}.{key}", one.get(key, "absent"), other.get(key, "absent"))
        ]
    return [] if one == other else [f"{where}: {one} -> {other}"]
