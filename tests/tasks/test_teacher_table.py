"""The teacher stage from a table: the vectors that the videos gave lead to the same studies, targets and student."""

import shutil
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from benchmarks.echo_export import echo_job, write_export
from data_contracts import catalog, teacher
from data_contracts.conventions import UserError
from data_contracts.evaluation import METRICS
from data_contracts.quarantine import QUARANTINE
from echoingecg.simulator.export import simulate
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from tasks.operations.teachers import write_embeddings
from tasks.operations.verify_and_collect import faults
from tasks.store import Job
from tasks.student import training_data
from tasks.teacher import read_targets

TRAINED = ("catalog", "ecg", "teacher", "pairs", "student")
CLIPS = 15


def smoke_job(root: Path, workspace: str, *settings: str) -> Job:
    """Recipe `smoke` on one simulated export."""
    return make_job(find_recipe("smoke", list(settings)), str(root / "export"), str(root / workspace))


@pytest.fixture(scope="module")
def echoes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("echoes")
    write_export(folder, CLIPS)
    return folder


def from_table(echoes: Path, workspace: Path, table: Path, *settings: str) -> Run:
    return run_stages(echo_job(echoes, workspace, f"teacher.model=table:{table}", *settings), "catalog", "teacher")


def test_the_student_is_that_of_the_videos_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = find_recipe("smoke", []).simulator
    assert simulator is not None
    simulate(simulator, tmp_path / "export")
    videos = run_stages(smoke_job(tmp_path, "videos"), *TRAINED)
    table = tmp_path / "embeddings.parquet"
    vectors = write_embeddings(videos.job, table)
    assert vectors == videos.artefacts["teacher"].manifest.counts["frames"] == pq.read_metadata(table).num_rows
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    for reader in ("tasks.ingest.blocks.clip_blocks", "echoingecg.teacher.networks.kind.load_teacher"):
        monkeypatch.setattr(reader, lambda *_: pytest.fail("a clip or a network was opened"))
    tabled = run_stages(smoke_job(tmp_path, "tabled", f"teacher.model=table:{table}"))
    both = (videos, tabled)
    studies, means, log_vars = zip(*(read_targets(run.artefacts["teacher"]) for run in both), strict=True)
    assert studies[0].equals(studies[1])
    assert (means[0].tobytes(), log_vars[0].tobytes()) == (means[1].tobytes(), log_vars[1].tobytes())
    clips = [teacher.CLIPS.read(run.artefacts["teacher"].folder) for run in both]
    assert clips[0].drop_columns("sector").equals(clips[1].drop_columns("sector"))
    prints = [training_data(run.job, run.artefacts).fingerprint() for run in both]
    assert prints[0] == prints[1]
    assert videos.content["pairs"] == tabled.content["pairs"]
    weights = [
        (run.artefacts["student"].folder / name).read_bytes()
        for run in both
        for name in sorted(path.name for path in run.artefacts["student"].folder.glob("*.safetensors"))
    ]
    assert weights[: len(weights) // 2] == weights[len(weights) // 2 :]
    assert list(faults(tabled.job.store, tabled.artefacts["teacher"])) == []
    assert not (tabled.artefacts["teacher"].folder / teacher.CONTACT_SHEET).exists()
    protocols = set(METRICS.read(tabled.artefacts["evaluation"].folder)["protocol"].to_pylist())
    assert "linear_probe" in protocols
    assert not {name for name in protocols if "_teacher" in name}


def test_no_clip_is_opened_and_a_clip_without_vector_is_refused(echoes: Path, tmp_path: Path) -> None:
    shutil.copytree(echoes, tmp_path / "export")
    listed = pd.read_csv(tmp_path / "export/mimic-iv-echo/echo-record-list.csv", dtype=str)
    for number, path in enumerate(listed["dicom_filepath"]):
        (tmp_path / "export/mimic-iv-echo" / path).write_bytes(f"no echo: {number}".encode())
    random = np.random.default_rng(5)
    table = listed.drop(index=[0, 10, 11, 12, 13, 14]).reset_index(drop=True)
    table = table.assign(embedding=list(random.normal(size=(len(table), 6))))
    table.to_parquet(tmp_path / "table.parquet")
    result = from_table(tmp_path / "export", tmp_path / "work", tmp_path / "table.parquet").artefacts["teacher"]
    assert result.manifest.counts == {"clips": 9, "frames": 9, "studies": 2, "refused": 6}
    refused = QUARANTINE.read(result.folder)
    assert set(refused["reason"].to_pylist()) == {"no_embedding"}
    known = catalog.ECHOES.read(tmp_path / "work/artefacts/catalog" / result.manifest.inputs["catalog"])
    assert set(refused["source_id"].to_pylist()) < set(known["source_id"].to_pylist())
    studies, mean, log_var = read_targets(result)
    vectors = np.stack(table["embedding"])
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(float)
    groups = [rows.to_numpy() for rows in table.groupby("study_id").groups.values()]
    expected = {len(rows): vectors[rows] for rows in groups}  # studies of 4 and of 5 clips
    for row, count in enumerate(studies["frames"].to_pylist()):
        average = expected[count].mean(axis=0)
        np.testing.assert_allclose(mean[row], average / np.linalg.norm(average), rtol=1e-6)
        np.testing.assert_allclose(log_var[row], np.log(expected[count].var(axis=0) + 1e-8), rtol=1e-5)


def test_one_vector_a_study_has_the_smallest_variance(echoes: Path, tmp_path: Path) -> None:
    listed = pd.read_csv(echoes / "mimic-iv-echo/echo-record-list.csv", dtype=str).drop_duplicates("study_id")
    names = [f"e{number}" for number in range(4)]
    values = pd.DataFrame(np.random.default_rng(5).normal(size=(len(listed), 4)), columns=names)
    table = listed[["subject_id", "study_id"]].reset_index(drop=True).join(values)
    table.iloc[:2].to_csv(tmp_path / "table.csv", index=False)
    result = from_table(echoes, tmp_path / "work", tmp_path / "table.csv")
    artefact = result.artefacts["teacher"]
    assert artefact.manifest.counts == {"clips": 2, "frames": 2, "studies": 2, "refused": 5}  # files of the third
    studies, mean, log_var = read_targets(artefact)
    assert np.unique(log_var) == np.float32(np.log(result.job.recipe.teacher.variance_epsilon))
    np.testing.assert_allclose(np.linalg.norm(mean, axis=1), 1, rtol=1e-6)
    clips = teacher.CLIPS.read(artefact.folder)
    assert clips["clip_id"].to_pylist() == clips["study_id"].to_pylist() == studies["study_id"].to_pylist()
    for name in listed["study_id"]:
        assert name not in str(clips.to_pylist())
    with pytest.raises(UserError, match="its vectors are those of whole studies"):
        write_embeddings(result.job, tmp_path / "out.parquet")


def test_a_study_of_one_vector_gets_the_variance_of_the_others(echoes: Path, tmp_path: Path) -> None:
    listed = pd.read_csv(echoes / "mimic-iv-echo/echo-record-list.csv", dtype=str)
    ends = listed.drop_duplicates("study_id").index
    table = listed.drop(index=range(ends[0] + 1, ends[1]))  # the first study keeps one clip
    table = table.assign(embedding=list(np.random.default_rng(6).normal(size=(len(table), 6))))
    table.to_parquet(tmp_path / "table.parquet")
    spread = {}
    for choice in ("epsilon", "median"):
        run = from_table(echoes, tmp_path / "work", tmp_path / "table.parquet", f"teacher.still_study={choice}")
        studies, _, spread[choice] = read_targets(run.artefacts["teacher"])
    single = studies["frames"].to_pylist().index(1)
    others = np.delete(spread["epsilon"], single, axis=0)
    np.testing.assert_array_equal(np.delete(spread["median"], single, axis=0), others)
    assert np.unique(spread["epsilon"][single]) == np.float32(np.log(1e-8))
    np.testing.assert_array_equal(spread["median"][single], np.median(others, axis=0))
    assert run.artefacts["teacher"].manifest.run.new_keys == 0, "vectors and their moments are shared"


def test_growth_and_another_table_never_mix(echoes: Path, tmp_path: Path) -> None:
    listed = pd.read_csv(echoes / "mimic-iv-echo/echo-record-list.csv", dtype=str)
    random = np.random.default_rng(6)
    table = listed.assign(embedding=list(random.normal(size=(CLIPS, 6))))
    table.to_parquet(tmp_path / "table.parquet")
    first = from_table(echoes, tmp_path / "work", tmp_path / "table.parquet")
    again = from_table(echoes, tmp_path / "work", tmp_path / "table.parquet", "teacher.target=clips")
    assert again.artefacts["teacher"].manifest.run.new_keys == 0
    table.assign(embedding=table["embedding"].to_numpy()[::-1]).to_parquet(tmp_path / "table.parquet")
    other = from_table(echoes, tmp_path / "work", tmp_path / "table.parquet")
    assert other.versions["teacher"] != first.versions["teacher"]
    assert (read_targets(other.artefacts["teacher"])[1] != read_targets(first.artefacts["teacher"])[1]).any()
    assert list(faults(first.job.store, first.artefacts["teacher"])) == []


def test_equal_clips_with_different_vectors_are_refused(echoes: Path, tmp_path: Path) -> None:
    shutil.copytree(echoes, tmp_path / "export")
    listed = pd.read_csv(tmp_path / "export/mimic-iv-echo/echo-record-list.csv", dtype=str)
    paths = [tmp_path / "export/mimic-iv-echo" / path for path in listed["dicom_filepath"]]
    paths[1].write_bytes(paths[0].read_bytes())  # of the same patient
    listed.assign(embedding=list(np.random.default_rng(7).normal(size=(CLIPS, 6)))).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError, match="two clips of the same content have different vectors"):
        from_table(tmp_path / "export", tmp_path / "work", tmp_path / "t.parquet")


def test_a_stage_that_was_not_run_has_no_vectors(echoes: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there: run the recipe with --only catalog --only teacher"):
        write_embeddings(echo_job(echoes, tmp_path), tmp_path / "out.parquet")
