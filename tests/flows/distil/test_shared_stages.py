"""The real stages in two workspaces that share artefacts and pools on S3, and nothing else but the pseudonym key."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_contracts.conventions import Stage
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import run_stages
from helpers.servers.s3_server import s3_bucket
from tasks.all_stages import WORKS
from tasks.base.workspace import Bucket
from tasks.operations.verify_and_collect import faults
from tasks.store import Job, join

FIRST: tuple[Stage, ...] = ("catalog", "ecg", "teacher", "pairs")


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    with s3_bucket(tmp_path / "moto.log") as found:
        yield found


def joined_job(workspace: Path, export: Path, bucket: str) -> Job:
    recipe = find_recipe("smoke", ['catalog.public_key=""', f"execution.pools={bucket}/pools"])
    job = make_job(recipe, str(export), str(workspace))
    list(join(job.workspace, f"{bucket}/artefacts"))
    return job


@pytest.mark.slow
def test_a_second_machine_reuses_four_stages_and_gives_a_student_back(
    export: Path, bucket: str, tmp_path: Path
) -> None:
    a, b, stranger = (joined_job(tmp_path / name, export, bucket) for name in ("a", "b", "stranger"))
    made = run_stages(a, *FIRST)
    assert not any(made.cached.values())

    (b.workspace.private).mkdir(mode=0o700)
    shutil.copy(a.workspace.private / "pseudonym.key", b.workspace.private)
    taken = run_stages(b, *FIRST, "student")
    assert taken.cached == dict.fromkeys(FIRST, True) | {"student": False}
    for stage in FIRST:
        one, other = made.artefacts[stage], taken.artefacts[stage]
        assert one.folder != other.folder
        assert [(path.name, path.read_bytes()) for path in sorted(one.folder.glob("*")) if path.is_file()] == [
            (path.name, path.read_bytes()) for path in sorted(other.folder.glob("*")) if path.is_file()
        ]
        assert list(faults(b.store, other)) == [], "files, and rows in the pool"
    again = run_stages(a, *FIRST, "student")
    assert all(again.cached.values())
    assert again.content["student"] == taken.content["student"]
    assert WORKS["catalog"].plan(stranger, {}).version != made.versions["catalog"], "another key, other pseudonyms"

    store = Bucket(f"{bucket}/artefacts")
    artefacts = taken.artefacts.values()
    there = {one.key for under in ("manifests", "files", "aliases") for one in store.listed(under)}
    assert there == {
        *(f"manifests/{one.stage}/{one.version}.json" for one in artefacts),
        *(f"files/{one.stage}/{one.version}/{one.manifest.content[:16]}/{name}" for one in artefacts
          for name in one.manifest.files),
    }  # fmt: skip
    private = [path for job in (a, b) for path in job.workspace.private.rglob("*") if path.is_file()]
    secrets = [a.key, a.key.hex().encode(), str(export).encode(), *(path.read_bytes() for path in private)]
    uploaded = [store.read(key) or b"" for key in sorted(there)]
    assert len(secrets) > 4
    assert not [one for one in secrets if one and any(one in content for content in uploaded)]
