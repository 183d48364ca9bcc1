"""`echoingecg doctor`: checks whether this machine can run the pipeline."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from rich import console, table, text

from data_contracts.conventions import UserError

_EXTRAS = ("", "pipeline", "teacher")  # what commands need
_MIN_FREE_GB = 5.0
_SERVER_SECONDS = 30.0  # a server's first answer on a busy machine
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True)
class Finding:
    """The result of one check; the message says what to do if it is not ok."""

    check: str
    state: Literal["ok", "warn", "fail"]
    message: str


def examine(workspace: Path) -> Iterator[Finding]:
    """Runs every check; each is quick and changes nothing but a temporary file in the workspace."""
    is_supported = sys.version_info >= (3, 11)
    version_text = sys.version.split()[0] + ("" if is_supported else ": 3.11 or newer needed")
    yield Finding("python", "ok" if is_supported else "fail", version_text)
    yield from _packages()
    try:
        place = _existing(workspace)
    except PermissionError:
        yield Finding("workspace", "fail", f"{workspace}: permission denied: choose another --workspace")
    else:
        yield _workspace(place)
        yield _disk(place)
    yield _device()
    yield _pools()
    yield _artefacts(workspace)
    yield (server := check_server())
    if os.environ.get("PREFECT_API_URL") and server.state == "ok":
        yield _crashed()


def _packages() -> Iterator[Finding]:
    wrong = []
    for line in requires("echoingecg") or []:
        needed = Requirement(line)
        if needed.marker and not any(needed.marker.evaluate({"extra": extra}) for extra in _EXTRAS):
            continue
        try:
            installed = version(needed.name)
        except PackageNotFoundError:
            installed = ""
        if not installed or not needed.specifier.contains(installed, prereleases=True):
            wrong.append(f"{needed.name} {installed or 'absent'}, needed {needed.specifier}")
    if wrong:
        yield Finding("packages", "fail", "; ".join(wrong) + ": install with the lock file")
    else:
        yield Finding("packages", "ok", f"echoingecg {version('echoingecg')}, all requirements met")


def _workspace(place: Path) -> Finding:
    try:
        with tempfile.NamedTemporaryFile(dir=place):
            return Finding("workspace", "ok", f"{place} can be written")
    except OSError as fault:
        return Finding("workspace", "fail", f"{place}: {fault.strerror}: choose another --workspace")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists. Raises PermissionError where this user may not look."""
    return next(place for place in (folder.resolve(), *folder.resolve().parents) if place.exists())


def _disk(place: Path) -> Finding:
    free = shutil.disk_usage(place).free / 1e9
    return Finding("disk", "ok" if free > _MIN_FREE_GB else "warn", f"{free:.1f} GB free")


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("device", "ok", f"torch {torch.__version__}, {torch.cuda.get_device_name(0)}")
    return Finding("device", "ok", f"torch {torch.__version__}, CPU with {torch.get_num_threads()} threads")


def _pools() -> Finding:
    import icechunk
    import zarr

    written = "1" if icechunk.__version__.startswith("1.") else "2"
    return Finding("pools", "ok", f"zarr {zarr.__version__}, icechunk {icechunk.__version__}, on-disk format {written}")


def _artefacts(workspace: Path) -> Finding:
    from echoingecg.common import StoreError
    from tasks.base.workspace import Workspace, check_access
    from tasks.store import sharing

    try:
        check_access(workspace.resolve())
        return Finding("artefacts", "ok", sharing(Workspace(workspace.resolve())))
    except StoreError as fault:
        return Finding("artefacts", "fail", str(fault))


def check_server() -> Finding:
    """Asks the Prefect server at PREFECT_API_URL for its version; ok without the variable, as runs start their own."""
    url = os.environ.get("PREFECT_API_URL", "")
    if not url:
        return Finding("prefect", "ok", f"{version('prefect')}, no PREFECT_API_URL: runs start their own server")
    import httpx
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY

    password, key = PREFECT_API_AUTH_STRING.value(), PREFECT_API_KEY.value()
    user, _, secret = (password or "").partition(":")
    headers = {"Authorization": f"Bearer {key}"} if key and not password else {}
    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/admin/version",
            auth=(user, secret) if password else None,
            headers=headers,
            timeout=_SERVER_SECONDS,
        )
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            how = "refuses the password in PREFECT_API_AUTH_STRING" if password else "asks for a password"
            return Finding("prefect", "fail", f"{url} {how}: set PREFECT_API_AUTH_STRING=user:password")
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as fault:
        return Finding("prefect", "fail", f"{url} ({type(fault).__name__}): start it or unset PREFECT_API_URL")
    return Finding("prefect", "ok", f"{url} answers")


def need_answer() -> None:
    """Raises UserError if PREFECT_API_URL names a server that does not answer, or not to this user."""
    if (server := check_server()).state == "fail":
        raise UserError(f"PREFECT_API_URL: {server.message}")


def need_server() -> None:
    """Raises UserError unless PREFECT_API_URL names a Prefect server that answers to this user."""
    if not os.environ.get("PREFECT_API_URL"):
        raise UserError("PREFECT_API_URL names no server: start one with `prefect server start`")
    need_answer()


def _crashed() -> Finding:
    from flows.faults import is_watched

    if is_watched():
        return Finding("killed runs", "ok", "the server marks a run crashed when its heartbeat stays away")
    return Finding("killed runs", "warn", "would stay Running for ever: `echoingecg serve` or `echoingecg crashed`")


def print_findings(findings: Iterator[Finding]) -> bool:
    """Prints the findings as a table. Returns whether no check failed."""
    shown = table.Table("check", "state", "finding")
    is_sound = True
    for finding in findings:
        shown.add_row(finding.check, text.Text(finding.state, style=_COLOURS[finding.state]), finding.message)
        is_sound &= finding.state != "fail"
    console.Console(markup=False, emoji=False).print(shown)  # a folder may be called [old] or :smile:
    return is_sound
