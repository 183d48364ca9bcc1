"""The pseudonym key of a workspace: made once, private, and whole or refused."""

from pathlib import Path

import pytest

from echoingecg.common import StoreError
from flows.request import find_recipe, make_job
from tasks.store import Job

PRIVATE = ["catalog.public_key=''"]


def job(folder: Path) -> Job:
    (folder / "export").mkdir(exist_ok=True)
    return make_job(find_recipe("demo", PRIVATE), str(folder / "export"), str(folder / "workspace"))


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first = job(tmp_path)
    assert (len(first.key), job(tmp_path).key) == (32, first.key)
    assert (first.workspace.private / "pseudonym.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damaged", [b"", b"\n", bytes(31), bytes(33)], ids=len)
def test_a_key_that_is_not_whole_makes_no_pseudonyms(tmp_path: Path, damaged: bytes) -> None:
    path = job(tmp_path).workspace.private / "pseudonym.key"
    assert job(tmp_path).key
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match=f"{len(damaged)} bytes, a pseudonym key has 32") as caught:
        _ = job(tmp_path).key
    assert "\n" not in str(caught.value)
