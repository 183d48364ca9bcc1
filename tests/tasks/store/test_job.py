"""The pseudonym key of a workspace: made once, private, and whole or refused."""

import shutil
from pathlib import Path

import pytest

from data_contracts.conventions import UserError
from echoingecg.common import StoreError
from flows.request import find_recipe
from flows.request import make_job as make_any_job
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
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


ANOTHER = r"pseudonym\.key: not the key that this workspace's catalogs were made with: bring it back from a backup"


def test_another_key_is_refused_and_a_lost_one_is_not_made_anew(tmp_path: Path) -> None:
    path, key = job(tmp_path).workspace.private / "pseudonym.key", job(tmp_path).key
    path.write_bytes(bytes(range(32)))
    with pytest.raises(StoreError, match=ANOTHER) as caught:
        _ = job(tmp_path).key
    assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(StoreError, match=r"pseudonym\.key is gone, and catalogs were made with it: bring it back"):
        _ = job(tmp_path).key
    path.write_bytes(key)
    assert job(tmp_path).key == key


def test_a_workspace_of_an_earlier_release_knows_its_key_by_its_catalogs(copied: Run) -> None:
    recipe = find_recipe("smoke", PRIVATE)
    place = str(copied.job.workspace.root)
    run_stages(make_job(recipe, str(copied.job.export), place), "catalog")
    private = copied.job.workspace.private
    key = (private / "pseudonym.key").read_bytes()
    for content, says in ((bytes(32), ANOTHER), (None, "is gone, and catalogs were made with it")):
        (private / "pseudonym.check").unlink()
        (private / "pseudonym.key").unlink(missing_ok=True)
        if content is not None:
            (private / "pseudonym.key").write_bytes(content)
        with pytest.raises(StoreError, match=says):
            _ = make_job(recipe, str(copied.job.export), place).key
        (private / "pseudonym.key").write_bytes(key)
        assert make_job(recipe, str(copied.job.export), place).key == key
    shutil.rmtree(private)
    public = make_job(copied.job.recipe, str(copied.job.export), place)
    assert public.key == b"simulated", "a public key needs no file"


def test_a_public_key_is_for_public_data(tmp_path: Path) -> None:
    (tmp_path / "hospital").mkdir()
    places = str(tmp_path / "hospital"), str(tmp_path / "workspace")
    for name in ("demo", "findings", "paper", "smoke"):
        with pytest.raises(
            UserError, match=r"catalog\.public_key is '[\w-]+': whoever knows it can name the pat"
        ) as one:
            make_any_job(find_recipe(name, []), *places)
        assert "\n" not in str(one.value)
        assert make_any_job(find_recipe(name, []), *places, public_data=True)
        assert make_any_job(find_recipe(name, PRIVATE), *places)
    assert make_any_job(find_recipe("demo", []), "", str(tmp_path / "workspace")), "its own simulated export"
