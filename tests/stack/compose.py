"""Reads a service from docker-compose.yml, the one place where services are described, and fills in its variables."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from echoingecg.common import UserError

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
# $$, ${NAME}, ${NAME:-default}, ${NAME:?what to do}: what Compose calls interpolation
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?::(?P<sign>[-?])(?P<text>[^}]*))?\})")


@dataclass(frozen=True)
class Service:
    """A service, as a process needs it.

    Attributes:
        name: its name in docker-compose.yml.
        command: entrypoint and arguments; for an image that is not ours, its arguments alone.
        environment: variables beside those of the caller.
        probe: command that ends with 0 once the service can be used; empty where the file has none.
        replicas: how many run side by side.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    probe: tuple[str, ...]
    replicas: int


def service(name: str, variables: Mapping[str, str]) -> Service:
    """Reads a service of docker-compose.yml.

    Raises:
        UserError: a variable that must be set is not.
    """
    described = _filled(yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"][name], variables)
    kind, *probe = described.get("healthcheck", {}).get("test", [""])
    return Service(
        name,
        (*described.get("entrypoint", []), *described.get("command", [])),
        {key: str(value) for key, value in described.get("environment", {}).items()},
        ("sh", "-c", *probe) if kind == "CMD-SHELL" else tuple(probe),
        described.get("deploy", {}).get("replicas", 1),
    )


def _filled(part: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {key: _filled(value, variables) for key, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, variables) for value in part]
    return _VARIABLE.sub(lambda found: _value(found, variables), part) if isinstance(part, str) else part


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    name = found["name"]
    if name is None:
        return "$"
    if value := variables.get(name):
        return value
    if found["sign"] == "?":
        raise UserError(f"{FILE.name}: {name} is not set: {found['text']}")
    return found["text"] or ""
