"""`echoingecg artefacts report`: the published page, byte for byte, from published artefacts alone."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from data_contracts.evaluation import CONTRACT_VERSION, FIGURES, METRICS, MODEL_CARD, REPORT
from echoingecg.common import StoreError
from helpers.cases.republished import republish, version_of
from helpers.cases.stage_runs import Run
from tasks.evaluation import rebuild_report


def test_the_page_is_made_again_byte_for_byte(finished: Run, tmp_path: Path) -> None:
    published, root = finished.artefacts["evaluation"], finished.job.workspace.root
    arguments = ["artefacts", "report", str(published), "--workspace", str(root), "--out", str(tmp_path / "again")]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == str(tmp_path / "again" / REPORT)
    figures = sorted(path.name for path in (published.folder / FIGURES).iterdir())
    assert sorted(path.name for path in (tmp_path / "again" / FIGURES).iterdir()) == figures
    for name in (REPORT, MODEL_CARD, *(f"{FIGURES}/{figure}" for figure in figures)):
        assert (tmp_path / "again" / name).read_bytes() == (published.folder / name).read_bytes(), name


def test_the_tables_are_what_the_page_shows(copied: Run, tmp_path: Path) -> None:
    """A number that is changed in the table is changed on the page and on the card."""
    folder = copied.job.store.get(str(copied.artefacts["evaluation"])).folder
    rows = [row | ({"value": 0.1234} if row["metric"] == "auroc" else {}) for row in METRICS.read(folder).to_pylist()]
    METRICS.write(pa.Table.from_pylist(rows, METRICS.schema), folder)
    republish(folder)
    copied.job.store.set_alias("best", copied.artefacts["evaluation"])
    rebuild_report(copied.job.store, "best", tmp_path / "again")
    for name in (REPORT, MODEL_CARD):
        before, after = ((of / name).read_text(encoding="utf-8") for of in (folder, tmp_path / "again"))
        assert after.count("0.12") > before.count("0.12") + 3  # a score may show the same digits


def _of_version_4(run: Run) -> str:
    folder = run.job.store.get(str(run.artefacts["evaluation"])).folder
    version = version_of(run.artefacts["evaluation"].manifest, contract_version=4)
    republish(folder, contract_version=4, version=version)
    folder.rename(folder.with_name(version))
    return f"evaluation-{version}"


def _of_no_student(run: Run) -> str:
    shutil.rmtree(run.job.store.get(str(run.artefacts["student"])).folder)
    return str(run.artefacts["evaluation"])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_of_version_4, f"is of contract version 4, and this release makes reports of version {CONTRACT_VERSION}"),
        (_of_no_student, r"was made of student-\w+, which is gone: run the pipeline again"),
        (lambda run: str(run.artefacts["pairs"]), "has no report: name an evaluation"),
        (lambda run: "nobody", "'nobody' names no artefact"),
    ],
)
def test_what_cannot_be_made_again_is_one_line(
    copied: Run, tmp_path: Path, make: Callable[[Run], str], says: str
) -> None:
    with pytest.raises(StoreError, match=says):
        rebuild_report(copied.job.store, make(copied), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_published_artefacts_are_never_written_to(finished: Run, tmp_path: Path) -> None:
    published = finished.artefacts["evaluation"]
    with pytest.raises(StoreError, match="among the published artefacts"):
        rebuild_report(finished.job.store, str(published), published.folder)
    (file := tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="is a file: --out takes a folder"):
        rebuild_report(finished.job.store, str(published), file)
    assert file.read_text() == "mine"
