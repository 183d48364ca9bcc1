"""The flows that look after a workspace and the store that it shares, on a real Prefect server."""

from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

from flows.operations import gc, verify
from helpers.cases.stage_runs import Run
from helpers.servers.s3_server import s3_bucket
from tasks.base.workspace import Bucket
from tasks.store import join


@pytest.mark.slow
def test_verify_and_gc_look_here_or_in_the_shared_store(copied: Run, tmp_path: Path) -> None:
    place = str(copied.job.workspace.root)
    pairs = copied.artefacts["pairs"]
    with s3_bucket(tmp_path / "moto.log") as bucket, prefect_test_harness(server_startup_timeout=120):
        list(join(copied.job.workspace, f"{bucket}/x"))
        here, there = verify(place, return_state=True), verify(place, shared=True, return_state=True)
        assert (here.type.value, here.message) == ("COMPLETED", "6 artefacts, 0 faults")
        assert there.message == "4 artefacts, 0 faults", "those of local pools are not shared"
        kept = [gc(place, shared=shared, return_state=True).message for shared in (False, True)]
        assert kept == ["0 folders would be deleted"] * 2

        [key] = [one.key for one in Bucket(f"{bucket}/x").listed("files") if one.key.endswith("ecg_echo.parquet")]
        Bucket(f"{bucket}/x").write(key, b"damaged")
        there = verify(place, [str(pairs)], shared=True, return_state=True)
        assert there.type.value == "FAILED"
        assert f"1 artefacts, 1 faults, the first: {pairs}: ecg_echo.parquet is missing or damaged" in there.message
        assert verify(place, [str(pairs)], return_state=True).message == "1 artefacts, 0 faults"
