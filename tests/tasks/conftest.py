"""A workspace, a plan, and an artefact to publish."""

from pathlib import Path

import pytest

from tasks.artefacts import ArtefactStore, Plan
from tasks.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def store(workspace: Workspace) -> ArtefactStore:
    return ArtefactStore(workspace)


@pytest.fixture
def plan() -> Plan:
    return Plan("pairs", 1, 1, {"window_hours": 24.0}, {}, {"catalog": "c", "ecg": "e", "teacher": "t"})
