"""The page of samples: drawn from artefacts alone, shown in the report and in Prefect."""

import base64
import io

import numpy as np
from PIL import Image
from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.testing.utilities import prefect_test_harness

from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS, RECORDS
from support import Run
from tasks.ecg_page import finding_counts, sample_page, show


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


def test_prefect_shows_refusals_and_page(finished: Run) -> None:
    ecg = finished.artefacts["ecg"]

    @task(persist_result=False)
    def look() -> None:
        show(finished.job.workspace, ecg)

    with prefect_test_harness():
        look()
        with get_client(sync_client=True) as client:
            wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["ecg-refusals", "ecg-samples"]))
            found = {one.key: one for one in client.read_artifacts(artifact_filter=wanted)}
    assert set(found) == {"ecg-refusals", "ecg-samples"}
    assert "data:image/png;base64," in str(found["ecg-samples"].data)
    assert len(str(found["ecg-samples"].data)) < 500_000
