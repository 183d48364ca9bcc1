"""A workspace, a plan, and an artefact to publish."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.servers.s3_server import s3_bucket
from tasks.base.workspace import Workspace
from tasks.store import ArtefactStore, Plan


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def store(workspace: Workspace) -> ArtefactStore:
    return ArtefactStore(workspace)


@pytest.fixture
def plan() -> Plan:
    return Plan("pairs", 1, 1, {"window_hours": 24.0}, {}, {"catalog": "c", "ecg": "e", "teacher": "t"})


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_bucket(tmp_path_factory.mktemp("s3") / "moto.log") as found:
        yield found


@pytest.fixture
def address(bucket: str, tmp_path: Path) -> str:
    """A prefix of its own for each test."""
    return f"{bucket}/{tmp_path.name}/artefacts"
