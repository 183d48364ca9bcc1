"""What is rebuilt, what is reused, and that equal causes give equal bytes."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import xarray
import zarr
from safetensors.numpy import load_file
from threadpoolctl import threadpool_limits

from data_contracts import ecg, pairs, teacher
from data_contracts.conventions import STAGES, Stage
from data_contracts.student import WEIGHTS
from echoingecg.common import StoreError
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_and_kill, run_stages
from helpers.servers.s3_server import s3_bucket
from tasks.all_stages import plans
from tasks.operations.verify_and_collect import faults
from tasks.pools import Pool
from tasks.store import Job


def job_like(run: Run, overrides: tuple[str, ...] = (), **order: object) -> Job:
    recipe = find_recipe("smoke", list(overrides))
    return make_job(recipe, str(run.job.export), str(run.job.workspace.root), **order)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_second_run_reuses_all_six(finished: Run) -> None:
    again = run_stages(job_like(finished))
    assert again.cached == dict.fromkeys(STAGES, True)
    assert again.versions == finished.versions == {plan.stage: plan.version for plan in plans(job_like(finished))}


def test_nothing_reads_an_unchanged_export_again(finished: Run) -> None:
    job = job_like(finished)
    assert job.scan.read_files == 0
    assert finished.artefacts["catalog"].manifest.run.new_keys > 0


def test_only_evaluation_makes_a_version_of_that_stage_alone(copied: Run) -> None:
    before = {stage: files(copied.job.store.folder(stage, copied.versions[stage])) for stage in STAGES}
    run = run_stages(job_like(copied, ("evaluation.bootstrap_draws=60",), only=["evaluation"]))
    assert [stage for stage in STAGES if not run.cached[stage]] == ["evaluation"]
    assert run.versions["evaluation"] != copied.versions["evaluation"]
    assert {stage: files(copied.job.store.folder(stage, copied.versions[stage])) for stage in STAGES} == before


def test_from_student_redoes_student_and_evaluation_alone(copied: Run) -> None:
    before = {stage: files(copied.job.store.folder(stage, copied.versions[stage])) for stage in STAGES[:4]}
    run = run_stages(job_like(copied, start_from="student"))
    assert [stage for stage in STAGES if not run.cached[stage]] == ["student", "evaluation"]
    assert run.versions == copied.versions
    assert run.content == copied.content, "a redone stage must give the same bytes"
    assert {stage: files(copied.job.store.folder(stage, copied.versions[stage])) for stage in STAGES[:4]} == before


def test_only_without_what_it_needs_is_one_line(copied: Run) -> None:
    with pytest.raises(StoreError, match=r"student-\w+ is not there and this run leaves 'student' out"):
        run_stages(job_like(copied, ("student.seed=1",), only=["evaluation"]))


@pytest.mark.parametrize("stage", STAGES)
def test_a_deleted_version_comes_back_with_the_same_bytes(stage: Stage, copied: Run) -> None:
    shutil.rmtree(copied.job.store.folder(stage, copied.versions[stage]))
    run = run_stages(job_like(copied))
    assert [one for one in STAGES if not run.cached[one]] == [stage]
    assert run.versions == copied.versions
    assert run.content == copied.content


@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_an_evaluations_bytes_do_not_depend_on_threads(threads: int, copied: Run) -> None:
    shutil.rmtree(copied.job.store.folder("evaluation", copied.versions["evaluation"]))
    with threadpool_limits(threads):
        assert run_stages(job_like(copied)).content == copied.content


@pytest.mark.slow
def test_from_an_empty_workspace_the_same_bytes(finished: Run, tmp_path: Path) -> None:
    job = make_job(finished.job.recipe, str(finished.job.export), str(tmp_path / "elsewhere"))
    assert run_stages(job).content == finished.content


def test_two_dask_processes_give_the_same_version_and_bytes(finished: Run, tmp_path: Path) -> None:
    recipe = find_recipe("smoke", ["execution.workers=2"])
    job = make_job(recipe, str(finished.job.export), str(tmp_path / "workspace"))
    run = run_stages(job, "catalog", "ecg")
    for stage in ("catalog", "ecg"):
        assert run.versions[stage] == finished.versions[stage]
        assert run.content[stage] == finished.content[stage]


@pytest.mark.parametrize(
    ("stage", "after"),
    [
        pytest.param("ecg", 15, marks=pytest.mark.slow),
        pytest.param("teacher", 20, marks=pytest.mark.slow),
        pytest.param("student", 5, marks=pytest.mark.slow),
    ],
)
def test_kill_9_and_run_again(stage: Stage, after: int, finished: Run, tmp_path: Path) -> None:
    job = make_job(finished.job.recipe, str(finished.job.export), str(tmp_path / "workspace"))
    run_and_kill(job, "smoke", stage, after)
    assert job.store.find(stage, finished.versions[stage]) is None
    run = run_stages(job)
    assert not run.cached[stage]
    assert run.content == finished.content
    if stage in ("ecg", "teacher"):
        new, whole = (one.artefacts[stage].manifest.run.new_keys for one in (run, finished))
        assert whole - 10 <= new + 10 <= whole + 9, "one commit of 10 survives the kill"
    assert [fault for one in run.artefacts.values() for fault in faults(job.store, one)] == []


def test_a_grown_export_processes_only_what_is_new(copied: Run, tmp_path: Path) -> None:
    from echoingecg.simulator.export import simulate

    settings = copied.job.recipe.simulator
    assert settings is not None
    simulate(settings.model_copy(update={"patients": settings.patients + 3}), tmp_path / "grown")
    job = make_job(copied.job.recipe, str(tmp_path / "grown"), str(copied.job.workspace.root))
    run = run_stages(job, "catalog", "ecg", "teacher", "pairs")
    for stage, table in (("ecg", "ecgs"), ("teacher", "echoes")):
        old, new = (set(_column(one, "catalog", table, "content_hash")) for one in (copied, run))
        assert old < new
        assert run.artefacts[stage].manifest.run.new_keys == len(new - old)
    sides = [dict(zip(*(_column(one, "pairs", "patients", name) for name in ("patient_id", "split")), strict=True))
             for one in (copied, run)]  # fmt: skip
    assert len(sides[1]) > len(sides[0])
    assert sides[1].items() >= sides[0].items()
    for one in copied.artefacts.values():  # the old version stays readable
        assert list(faults(job.store, one)) == []


def _column(run: Run, stage: Stage, table: str, name: str) -> list:
    path = run.job.store.folder(stage, run.versions[stage]) / f"{table}.parquet"
    return pq.read_table(path)[name].to_pylist()


def test_a_deleted_pool_comes_back_from_its_stage(copied: Run) -> None:
    shutil.rmtree(copied.job.workspace.pools / "ecg")
    with pytest.raises(StoreError, match="run again with --from ecg"):
        Pool.read(copied.job.workspace, copied.artefacts["ecg"].manifest.run.pool)
    run = run_stages(job_like(copied, start_from="ecg"), "catalog", "ecg")
    assert run.content["ecg"] == copied.content["ecg"]
    assert list(faults(run.job.store, run.artefacts["ecg"])) == []


def test_damage_in_files_and_pools_is_found(copied: Run) -> None:
    store = copied.job.store
    artefact = store.get(str(copied.artefacts["ecg"]))
    assert list(faults(store, artefact)) == []
    chunks = sorted((store.workspace.pools / "ecg").rglob("chunks/*"), key=lambda path: path.stat().st_size)
    data = bytearray(chunks[-1].read_bytes())
    data[len(data) // 2] ^= 0xFF
    chunks[-1].write_bytes(data)
    try:
        found = list(faults(store, artefact))
    except Exception as fault:  # noqa: BLE001 - the codec may notice first
        found = [str(fault)]
    assert found


def test_open_formats(finished: Run) -> None:
    workspace = finished.job.workspace
    for stage, contract in (("ecg", ecg), ("teacher", teacher)):
        group = Pool.read(workspace, finished.artefacts[stage].manifest.run.pool)
        dataset = xarray.open_zarr(group.store, consolidated=False, chunks=None)
        for array in contract.ARRAYS:
            assert dataset[array.name].dims == array.dims
            array.check(group[array.name])
    folder = finished.artefacts["teacher"].folder
    targets = xarray.open_zarr(folder / teacher.TARGETS_GROUP, consolidated=False, chunks=None)
    assert targets["mean"].dims == ("study", "dim")
    assert zarr.open_group(folder / teacher.TARGETS_GROUP, mode="r")["mean"].dtype == "float32"
    assert load_file(finished.artefacts["student"].folder / WEIGHTS)
    for path in workspace.artefacts.rglob("*.parquet"):
        pq.read_table(path)


def test_no_pickle_anywhere(finished: Run) -> None:
    suffixes = {path.suffix for path in finished.job.workspace.artefacts.rglob("*") if path.is_file()}
    assert suffixes <= {".parquet", ".json", ".safetensors", ".png", ".html", ".md", ".sha256", ".lock", ""}


def test_no_identifier_leaves_the_private_folder(finished: Run) -> None:
    record_list = next(finished.job.export.rglob("record_list.csv")).read_text().splitlines()
    subject = record_list[1].split(",")[0].encode()
    assert len(subject) == 8
    for path in finished.job.workspace.artefacts.rglob("*"):
        if path.is_file() and path.suffix == ".parquet":
            table = pq.read_table(path)
            text = " ".join(str(value) for name in table.column_names for value in table[name].to_pylist())
            assert subject.decode() not in text, path
        elif path.is_file():
            assert subject not in path.read_bytes(), path
    assert (finished.job.workspace.private.stat().st_mode & 0o777) == 0o700


def test_the_split_is_the_leakage_contract(finished: Run) -> None:
    folder = finished.artefacts["pairs"].folder
    pairs.check_no_leakage(*(one.read(folder) for one in (pairs.PATIENTS, pairs.ECG_ECHO, pairs.ECG_TEXT)))


@pytest.mark.slow
def test_pools_on_s3_give_the_same_versions_and_bytes(finished: Run, tmp_path: Path) -> None:
    with s3_bucket(tmp_path / "moto.log") as bucket:
        recipe = find_recipe("smoke", [f"execution.pools={bucket}/pools"])
        run = run_stages(make_job(recipe, str(finished.job.export), str(tmp_path / "workspace")))
        assert (run.versions, run.content) == (finished.versions, finished.content)
        for stage in ("ecg", "teacher"):
            pool = run.artefacts[stage].manifest.run.pool
            assert pool is not None
            assert pool.path.startswith(f"{bucket}/pools/{stage}/")
            assert [*faults(run.job.store, run.artefacts[stage])] == []
    assert not [*(tmp_path / "workspace" / "pools").rglob("chunks")]
