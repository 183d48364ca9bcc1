"""Fixtures that every test may use: golden numbers, real recordings, a run of the smoke recipe, a browser."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from helpers.paths import DATA, ROOT

if TYPE_CHECKING:  # the fixtures import what they need, so that the tests of a small module start at once
    from helpers.cases.stage_runs import Run

# `make test` draws the same examples every time, so that no test fails by chance; `make test-all` draws new ones.
# No deadline: how long an example takes says more of the machine's other work than of the code.
hypothesis.settings.register_profile("derandomized", derandomize=True, max_examples=50, deadline=None)
hypothesis.settings.register_profile("free", derandomize=False, deadline=None)  # 100 examples
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "derandomized"))

CHROMIUM = Path("/usr/bin/chromium")

SHARED = Path(os.environ.get("ECHOINGECG_SHARED", ROOT.parent / "shared"))


def _complete() -> Path:
    """Folder of all real recordings; skips where there is none."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs 'data' in a folder 'shared' beside the checkout, or ECHOINGECG_SHARED")
    return SHARED / "data"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of golden numbers."""
    return DATA / "golden"


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Folder of real recordings: all of them where there are all, otherwise the small part that is in tests/data."""
    return SHARED / "data" if (SHARED / "data").is_dir() else DATA / "recordings"


@pytest.fixture(scope="session")
def all_recordings() -> Path:
    """Folder of all real recordings."""
    return _complete()


@pytest.fixture(scope="session")
def recording() -> Callable[[str], Path]:
    """Finds a real recording by its path below the folder of all; skips where it is absent.

    Looks in tests/data, then in the pydicom package, which ships two of them, then among all.
    """

    def find(name: str) -> Path:
        from helpers.echo.ultrasound_files import PACKAGED

        shipped = [DATA / "recordings" / name]
        if "/pydicom/" in name:
            shipped.append(PACKAGED / Path(name).name)
        return next((path for path in shipped if path.is_file()), None) or _complete() / name

    return find


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a window."""
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the extra `ui`")
    with sync_api.sync_playwright() as playwright:
        # Chromium's own sandbox needs user namespaces, which a container may not grant.
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated export of the smoke recipe. Read only."""
    from echoingecg.simulator.export import simulate
    from flows.request import find_recipe

    folder = tmp_path_factory.mktemp("hospital") / "export"
    settings = find_recipe("smoke", []).simulator
    assert settings is not None
    simulate(settings, folder)
    return folder


@pytest.fixture(scope="session")
def finished(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Run"]:
    """An undisturbed run. Copy its workspace before changing it: which tests share it is not known beforehand."""
    from flows.request import find_recipe
    from helpers.cases.public_jobs import make_job
    from helpers.cases.stage_runs import run_stages

    workspace = tmp_path_factory.mktemp("undisturbed") / "workspace"
    run = run_stages(make_job(find_recipe("smoke", []), str(export), str(workspace)))
    yield run
    assert sorted(map(str, run.job.store.here())) == sorted(map(str, run.artefacts.values())), "a test changed it"


@pytest.fixture
def copied(finished: "Run", tmp_path: Path) -> "Run":
    """The undisturbed run in a workspace of its own."""
    from helpers.cases.stage_runs import copy_of

    return copy_of(finished, tmp_path / "workspace")
