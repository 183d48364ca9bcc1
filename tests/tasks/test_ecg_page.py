"""The page of samples: drawn from artefacts alone, shown in the report and in Prefect."""

import base64
import io
import subprocess
import sys

import numpy as np
from PIL import Image

from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS, RECORDS
from helpers.cases.stage_runs import Run
from tasks.ecg import finding_counts, sample_page


def test_the_report_holds_the_page_and_the_counts(finished: Run) -> None:
    ecg = finished.artefacts["ecg"]
    page = sample_page(finished.job.workspace, ecg)
    assert page is not None
    assert page == sample_page(finished.job.workspace, ecg)
    with Image.open(io.BytesIO(page)) as image:
        assert image.format == "PNG"
    report = (finished.artefacts["evaluation"].folder / "report.html").read_text()
    assert base64.b64encode(page).decode() in report
    for name, count in finding_counts(ecg).items():
        assert f'<code>{name}</code></td><td class="number">{count:,}</td>' in report


def test_counts_are_those_of_the_records(finished: Run) -> None:
    rows = RECORDS.read(finished.artefacts["ecg"].folder).to_pylist()
    counts = finding_counts(finished.artefacts["ecg"])
    for name, bit in QUALITY_FLAGS.items():
        assert counts.get(name, 0) == sum(bool(row["lead_findings"] & bit) for row in rows)
    for name, bit in RECORD_FLAGS.items():
        assert counts.get(name, 0) == sum(bool(row["record_findings"] & bit) for row in rows)
    flagged = np.count_nonzero([row["flagged_leads"] > 0 or row["record_findings"] > 0 for row in rows])
    assert finished.artefacts["ecg"].manifest.counts["flagged"] == flagged


LOOK = """
import sys
from pathlib import Path
from prefect import task
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness
from flows.request import find_recipe
from tasks.store import ArtefactStore, Job
from tasks import ecg, teacher
from tasks.base.workspace import Workspace

workspace = Workspace(Path(sys.argv[1]))
job = Job(find_recipe("smoke", []), workspace, Path())

@task(persist_result=False)
def look():
    ecg._show(job, {}, ArtefactStore(workspace).get(sys.argv[2]))
    teacher._show(job, {}, ArtefactStore(workspace).get(sys.argv[3]))

with prefect_test_harness(server_startup_timeout=300):
    look()
    with get_client(sync_client=True) as client:
        for one in client.read_artifacts():
            print(one.key, len(str(one.data)), "data:image/png;base64," in str(one.data))
"""


def test_prefect_shows_refusals_and_pictures(finished: Run) -> None:
    """In a process of its own: Prefect's test server logs after pytest has closed its streams."""
    artefacts = [str(finished.artefacts[stage]) for stage in ("ecg", "teacher")]
    arguments = [str(finished.job.workspace.root), *artefacts]
    done = subprocess.run([sys.executable, "-c", LOOK, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = {key: (int(size), image) for key, size, image in (line.split() for line in done.stdout.splitlines())}
    assert set(shown) == {"ecg-refusals", "ecg-samples", "teacher-refusals", "teacher-samples"}
    for stage in ("ecg", "teacher"):
        assert shown[f"{stage}-samples"][1] == "True"
        assert shown[f"{stage}-samples"][0] < 500_000
