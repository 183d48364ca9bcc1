"""The teacher stage: the same bytes however it is cut, one pool for all targets, growth, two at once, kill -9."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models.video import mc3_18

from benchmarks.echo_export import echo_job, write_export
from data_contracts import teacher as contract
from data_contracts.quarantine import QUARANTINE
from echoingecg.teacher.networks.open_clip import DEMO_FOLDER, WEIGHTS
from helpers.cases.stage_runs import Run, run_stages
from helpers.paths import ROOT, TESTS
from tasks.operations.verify_and_collect import faults
from tasks.pools import Pool
from tasks.teacher import read_targets

CLIPS = 24
DAMAGED = 2


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("echoes")
    write_export(folder, CLIPS)
    for path in sorted(folder.rglob("*.dcm"))[:DAMAGED]:
        path.write_bytes(f"{path.name} is no echo".encode())
    return folder


@pytest.fixture(scope="module")
def usual(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_stages(echo_job(export, tmp_path_factory.mktemp("usual")), "catalog", "teacher")


def run(export: Path, workspace: Path, *settings: str) -> Run:
    return run_stages(echo_job(export, workspace, *settings), "catalog", "teacher")


def new_keys(run: Run) -> int | None:
    return run.artefacts["teacher"].manifest.run.new_keys


def embeddings(run: Run) -> dict[str, np.ndarray]:
    """float16 (vector, dim) of each clip, by content hash."""
    group = Pool.read(run.job.workspace, run.artefacts["teacher"].manifest.run.pool)
    names = ("key", "clip_start", "clip_frames", "embedding")
    keys, starts, lengths, vectors = (np.asarray(group[name][:]) for name in names)
    return {
        bytes(key).hex(): vectors[start : start + length]
        for key, start, length in zip(keys, starts, lengths, strict=True)
    }


def test_every_file_is_in_the_ragged_array_or_refused(usual: Run, export: Path) -> None:
    counts = usual.artefacts["teacher"].manifest.counts
    clips = contract.CLIPS.read(usual.artefacts["teacher"].folder).to_pylist()
    assert (counts["clips"], counts["refused"]) == (CLIPS - DAMAGED, DAMAGED)
    assert QUARANTINE.read(usual.artefacts["teacher"].folder)["reason"].to_pylist() == ["unknown_format"] * DAMAGED
    found = embeddings(usual)
    assert {row["content_hash"]: row["frames"] for row in clips} == {key: len(one) for key, one in found.items()}
    assert sum(map(len, found.values())) == counts["frames"]
    for one in found.values():
        np.testing.assert_allclose(np.linalg.norm(one.astype(float), axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("execution", ["commit_every=1", "commit_every=5", "decode_threads=1"])
def test_cut_otherwise(execution: str, export: Path, usual: Run, tmp_path: Path) -> None:
    assert run(export, tmp_path, f"execution.{execution}").content == usual.content


def test_another_batch_size_is_the_same_but_for_roundings(export: Path, usual: Run, tmp_path: Path) -> None:
    other = embeddings(run(export, tmp_path, "teacher.batch_frames=5"))
    for key, expected in embeddings(usual).items():
        np.testing.assert_allclose(other[key], expected, atol=3e-4)


def test_targets_and_batch_size_share_a_pool(export: Path, usual: Run, tmp_path: Path) -> None:
    shutil.copytree(usual.job.workspace.root, tmp_path / "workspace")
    targets = [read_targets(usual.artefacts["teacher"])[2]]
    for setting in ("target=clips", "target=autocorrelation", "batch_frames=32"):
        other = run(export, tmp_path / "workspace", f"teacher.{setting}")
        assert (other.cached["teacher"], new_keys(other)) == (False, 0)
        assert other.versions["teacher"] != usual.versions["teacher"]
        targets.append(read_targets(other.artefacts["teacher"])[2])
    assert len({one.tobytes() for one in targets}) == 3
    np.testing.assert_array_equal(targets[0], targets[3])


def test_another_teacher_never_mixes_with_the_old_one(export: Path, usual: Run, tmp_path: Path) -> None:
    """Weights that differ in one number, in the same place; then the first weights, elsewhere."""
    shutil.copytree(usual.job.workspace.root, tmp_path / "workspace")
    shutil.copytree(DEMO_FOLDER, tmp_path / "teacher")
    local = run(export, tmp_path / "workspace", f"teacher.model=local-dir:{tmp_path / 'teacher'}")
    state = load_file(tmp_path / "teacher" / WEIGHTS[0])
    state["visual.head.proj.bias"][0] += 1
    save_file(state, tmp_path / "teacher" / WEIGHTS[0])
    changed = run(export, tmp_path / "workspace", f"teacher.model=local-dir:{tmp_path / 'teacher'}")
    assert (new_keys(local), new_keys(changed)) == (0, CLIPS), "the same weights elsewhere are the same teacher"
    pools = [one.artefacts["teacher"].manifest.run.pool.path for one in (usual, local, changed)]
    assert pools[0] == pools[1] != pools[2]
    before, after = embeddings(local), embeddings(changed)
    assert before.keys() == after.keys()
    assert all((before[key] != after[key]).any() for key in before)
    shutil.copytree(DEMO_FOLDER, tmp_path / "moved")
    moved = run(export, tmp_path / "workspace", f"teacher.model=local-dir:{tmp_path / 'moved'}")
    assert (new_keys(moved), moved.content["teacher"]) == (0, local.content["teacher"])
    assert local.content["teacher"] == usual.content["teacher"]
    assert list(faults(moved.job.store, local.artefacts["teacher"])) == []


def test_a_grown_export_embeds_what_is_new_and_no_more(tmp_path: Path) -> None:
    write_export(tmp_path / "export", 10)
    first = run(tmp_path / "export", tmp_path / "workspace")
    write_export(tmp_path / "export", 13, before=10)
    grown = run(tmp_path / "export", tmp_path / "workspace")
    assert (new_keys(first), new_keys(grown)) == (10, 3)
    assert run(tmp_path / "export", tmp_path / "fresh").content["teacher"] == grown.content["teacher"]
    assert embeddings(first).keys() < embeddings(grown).keys()


def test_a_video_teacher_fills_the_same_store(export: Path, tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        torch.save(mc3_18().state_dict(), tmp_path / "weights.pt")
    settings = ("model=torchvision:mc3_18", f"weights={tmp_path / 'weights.pt'}", "window_frames=3", "image_size=32")
    video = run(export, tmp_path / "workspace", *(f"teacher.{one}" for one in settings))
    clips = contract.CLIPS.read(video.artefacts["teacher"].folder)
    assert set(clips["frames"].to_pylist()) == {1, 2}  # clips of 3, and of 4 to 6 frames
    assert {one.shape[1] for one in embeddings(video).values()} == {512}
    assert read_targets(video.artefacts["teacher"])[1].shape[1] == 512


def child(job_arguments: tuple[str, ...], counted: Path, log: Path | None = None) -> subprocess.Popen:
    """The teacher stage in a process of its own; a line of `counted` for each batch says how many vectors it made."""
    code = f"""
import logging, os, sys
sys.path.insert(0, {str(TESTS)!r})
logging.basicConfig(level=logging.INFO)
import torch
torch.set_num_threads(1)
from benchmarks.echo_export import echo_job
from echoingecg.teacher import embed as batches
from helpers.cases.stage_runs import run_stages

finished, counted = embed._finished, os.open({str(counted)!r}, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

def counting(batch, embedded):
    os.write(counted, f"{{batch.filled}}\\n".encode())
    return finished(batch, embedded)

embed._finished = counting
run_stages(echo_job(*{job_arguments!r}), "catalog", "teacher")
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (log or Path(os.devnull)).open("w") as output:
        return subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=output)


def vectors_made(counted: Path) -> int:
    return sum(map(int, counted.read_text().split())) if counted.is_file() else 0


@pytest.mark.slow
def test_two_at_once_embed_nothing_twice(export: Path, usual: Run, tmp_path: Path) -> None:
    """Two versions over one pool, each in a process: one embeds, the other says that it waits."""
    orders = ("teacher.target=frames", "teacher.target=clips")
    logs = [tmp_path / f"{number}.log" for number in range(2)]
    running = [
        child((str(export), str(tmp_path / "workspace"), order, "execution.commit_every=1"), tmp_path / "counted", log)
        for order, log in zip(orders, logs, strict=True)
    ]
    assert [one.wait(timeout=300) for one in running] == [0, 0], [log.read_text() for log in logs]
    assert vectors_made(tmp_path / "counted") == usual.artefacts["teacher"].manifest.counts["frames"]
    both = [run(export, tmp_path / "workspace", order) for order in orders]
    assert [one.cached["teacher"] for one in both] == [True, True]
    assert sorted(str(new_keys(one)) for one in both) == ["0", str(CLIPS)]
    assert both[0].content["teacher"] == usual.content["teacher"]
    assert [fault for one in both for fault in faults(one.job.store, one.artefacts["teacher"])] == []


@pytest.mark.slow
def test_a_local_cluster_decodes_to_the_same_bytes(export: Path, usual: Run, tmp_path: Path) -> None:
    assert run(export, tmp_path, "execution.workers=2").content == usual.content


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_9_at_20_random_moments(tmp_path: Path) -> None:
    """The artefact is that of an undisturbed run, byte for byte; no kill costs more than what was not committed."""
    write_export(tmp_path / "export", 400)
    commit, batch = 10, 16
    settings = (f"execution.commit_every={commit}", f"teacher.batch_frames={batch}")
    undisturbed = run(tmp_path / "export", tmp_path / "undisturbed", *settings)
    order = (str(tmp_path / "export"), str(tmp_path / "workspace"), *settings)
    moments, counted = random.Random(43), tmp_path / "counted"
    for _ in range(20):
        before = vectors_made(counted)
        process = child(order, counted)
        wanted = before + moments.randrange(1, 80)
        while vectors_made(counted) < wanted and process.poll() is None:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.05))
        assert process.poll() is None, "the run ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert child(order, counted).wait(timeout=600) == 0
    last = run(tmp_path / "export", tmp_path / "workspace", *settings)
    assert last.cached["teacher"]
    assert last.content == undisturbed.content
    for key, expected in embeddings(undisturbed).items():
        np.testing.assert_array_equal(embeddings(last)[key], expected)
    assert list(faults(last.job.store, last.artefacts["teacher"])) == []
    twice = vectors_made(counted) - last.artefacts["teacher"].manifest.counts["frames"]
    print(f"{twice} of {vectors_made(counted)} vectors embedded twice, {twice / 20:.0f} a kill")  # noqa: T201
    # A block of 8 files ends each commit, another waits, and two batches are with the model; at most 6 frames a clip.
    assert twice <= 20 * ((commit + 8 + 8) * 6 + 2 * batch)
