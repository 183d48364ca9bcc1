"""The table of docs/exit_codes.md, run line by line on the smoke run's workspace."""

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from flows.cli.main import app, main
from helpers.cases.command_line import call
from helpers.cases.stage_runs import Run
from helpers.paths import ROOT
from tasks.operations.backup import back_up
from tasks.store import ArtefactStore

ROWS = re.findall(
    r"^\| `([^`]+)` \| (\d+) \|(.*)\|$", (ROOT / "docs/exit_codes.md").read_text(encoding="utf-8"), re.MULTILINE
)
LEAST_ROWS = 60
OWN_PROCESS = {"run", "drift", "evaluate", "simulate"}  # with a server, or with worker processes
LONG = {"stress"}
WITHOUT_SUCCESS = {  # what a command needs to end with 0 that this test does not have
    "train": "tests/student/test_distributed.py",
    "teach": "tests/teacher/demo_training",
    "list-ecgs": "tests/ecg/test_file_header.py",
    "compare": "tests/tasks/operations/test_promote.py",
    "sweep": "tests/flows/cli/test_students.py",
    "import-released": "tests/student/released",
    "reports": "it ends when it is stopped",
    "serve": "it ends when it is stopped",
    "worker": "it ends when it is stopped",
    "crashed": "tests/flows/distil/test_server_faults.py",
    "notify": "tests/flows/test_notices.py",
}
WITHOUT_FAULT = {"deployments"}


def commands() -> Iterator[str]:
    for name, command in typer.main.get_command(app).commands.items():
        below = getattr(command, "commands", {})
        yield from (f"{name} {part}" for part in below)
        if not below:
            yield name


def test_every_command_is_in_the_table() -> None:
    assert len(ROWS) >= LEAST_ROWS
    for name in commands():
        codes = {code for typed, code, _ in ROWS if f"{typed} ".startswith(f"{name} ")}
        assert name in WITHOUT_SUCCESS or "0" in codes, name
        assert name in WITHOUT_FAULT or "2" in codes, name


@pytest.fixture(scope="module")
def place(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the words of the table stand for."""
    root = tmp_path_factory.mktemp("codes")
    shutil.copytree(finished.job.workspace.root, root / "workspace")
    store = ArtefactStore(type(finished.job.workspace)(root / "workspace"))
    store.set_alias("production", finished.artefacts["evaluation"])
    for moved in ("student", "evaluation"):
        store.set_alias("moved", finished.artefacts[moved])  # type: ignore[index]
    back_up(store, root / "backup")
    (root / "empty").mkdir()
    (root / "full").mkdir()
    (root / "full" / "notes.txt").write_text("no ECG")
    export, pairs = finished.job.export, str(finished.artefacts["pairs"])
    shutil.copytree(root / "workspace", root / "damaged")
    folder = root / "damaged" / "artefacts" / "pairs" / finished.artefacts["pairs"].version
    table = next(folder.glob("*.parquet"))
    table.write_bytes(table.read_bytes()[:-1])
    return {
        "workspace": str(root / "workspace"),
        "PATIENT": "10000001",
        "EXPORT": str(export),
        "BACKUP": str(root / "backup"),
        "EMPTY": str(root / "empty"),
        "FULL": str(root / "full"),
        "DAMAGED": f"{pairs} -w {root / 'damaged'}",
        "FILE": str(next((export / "mimic-iv-ecg").rglob("*.hea"))),
        "CLIP": str(next((export / "mimic-iv-echo").rglob("*_0001.dcm"))),
        "STUDENT": str(finished.artefacts["student"]),
        "EVALUATION": str(finished.artefacts["evaluation"]),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "code", "why"),
    [
        pytest.param(*row, id=row[0], marks=[pytest.mark.slow] if row[0].split()[0] in OWN_PROCESS | LONG else [])
        for row in ROWS
    ],
)
def test_it_ends_with_the_code_of_the_table(
    typed: str,
    code: str,
    why: str,
    place: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    new = {name: str(tmp_path / name.lower()) for name in ("NEW", "OUT.parquet", "PAGE.png", "SHEET.png")}
    words = shlex.split(" ".join({**place, **new}.get(word, word) for word in shlex.split(typed)))
    settings = {"ECHOINGECG_WORKSPACE": place["workspace"]}
    if words[0] == "run" and "-e" not in words:
        settings["ECHOINGECG_WORKSPACE"] = str(tmp_path / "workspace")
    if words[0] in OWN_PROCESS:
        done = call(*words, home=tmp_path / "prefect", **settings)
        got, stderr = done.returncode, done.stderr
    else:
        before = dict(os.environ)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["echoingecg", *words])
        monkeypatch.delenv("PREFECT_API_URL", raising=False)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
        got, stderr = ended.value.code or 0, capfd.readouterr().err
        for name in os.environ.keys() - before.keys():
            monkeypatch.delenv(name)
    assert got == int(code), stderr
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    if got == 2 and words[0] not in ("doctor", "nonsense") and "DAMAGED" not in typed:
        assert len(lines) == 1, stderr
    assert "Traceback" not in stderr
    assert not Path("/typo").exists()


def test_a_refused_file_is_named_whether_or_not_others_are_read(place: dict[str, str], tmp_path: Path) -> None:
    settings = {"ECHOINGECG_WORKSPACE": place["workspace"]}
    out = tmp_path / "out.parquet"
    done = call("predict", "/nope.hea", "/none.dcm", "--parquet", str(out), **settings)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "error: all 2 files were refused: the reason stands beside each file's name",
    )
    import pyarrow.parquet as pq

    assert set(pq.read_table(out)["file"].to_pylist()) == {"/nope.hea", "/none.dcm"}
