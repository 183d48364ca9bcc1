"""Bad files become quarantine rows, a bad environment one clear line; nothing is half-published."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
import pytest
import wfdb

from data_contracts.conventions import Stage
from data_contracts.ecg import QUALITY_FLAGS, RECORDS
from data_contracts.quarantine import QUARANTINE
from echoingecg.common import StoreError, UserError
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.paths import ROOT
from tasks.ecg import finding_counts, pages_of


def _truncate(header: Path) -> None:
    data = header.with_suffix(".dat")
    data.write_bytes(data.read_bytes()[:-1000])


def _lie(header: Path) -> None:
    header.write_text(re.sub(r"^(\S+ 12 500) 5000", r"\1 50000000", header.read_text()))


def _no_units(header: Path) -> None:
    header.write_text(header.read_text().replace("/mV", ""))


def _one_channel_less(header: Path) -> None:
    lines = header.read_text().splitlines()
    lines[0] = lines[0].replace(" 12 ", " 11 ", 1)
    signals = [number for number, line in enumerate(lines) if ".dat" in line]
    del lines[signals[-1]]
    data = np.fromfile(header.with_suffix(".dat"), "<i2").reshape(-1, 12)
    data[:, :11].tofile(header.with_suffix(".dat"))
    header.write_text("\n".join(lines) + "\n")


def _nan_lead(header: Path) -> None:
    record = wfdb.rdrecord(str(header.with_suffix("")))
    record.p_signal[:2500, 4] = np.nan
    place = {"fmt": ["16"] * 12, "write_dir": str(header.parent)}
    wfdb.wrsamp(header.stem, record.fs, record.units, record.sig_name, record.p_signal, **place)


def _no_pixels(clip: Path) -> None:
    dataset = pydicom.dcmread(clip)
    del dataset.PixelData
    dataset.save_as(clip)


def _empty(clip: Path) -> None:
    clip.write_bytes(b"")


ECG_FAULTS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "truncated .dat": (_truncate, {"truncated"}),
    "lying header": (_lie, {"truncated"}),
    "no unit": (_no_units, {"missing_units"}),
    "eleven channels": (_one_channel_less, {"missing_leads"}),
    "NaN lead": (_nan_lead, {"nan"}),
}
ECHO_FAULTS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "no pixel data": (_no_pixels, {"no_pixel_data"}),
    "empty file": (_empty, {"unknown_format", "unreadable"}),
}


@pytest.fixture(scope="module")
def damaged(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("damaged")
    shutil.copytree(export, folder / "export")
    headers = sorted((folder / "export").rglob("*.hea"))
    clips = [path for path in sorted((folder / "export").rglob("*.dcm")) if "mimic-iv-echo" in path.parts]
    cines = [path for path in clips if int(pydicom.dcmread(path, stop_before_pixels=True).get("NumberOfFrames", 1)) > 1]
    for header, (damage, _) in zip(headers, ECG_FAULTS.values(), strict=False):
        damage(header)
    for clip, (damage, _) in zip(cines, ECHO_FAULTS.values(), strict=False):
        damage(clip)
    recipe = find_recipe("smoke", ["ecg.max_refused_share=0.5"])
    job = make_job(recipe, str(folder / "export"), str(folder / "workspace"))
    return run_stages(job, "catalog", "ecg", "teacher")


def reasons_by_file(run: Run, stage: Stage) -> dict[str, str]:
    index = run.job.sources()
    paths = dict(zip(index["source_id"].to_pylist(), index["path"].to_pylist(), strict=True))
    rows = QUARANTINE.read(run.artefacts[stage].folder).to_pylist()
    return {paths[row["source_id"]]: row["reason"] for row in rows}


@pytest.mark.parametrize(("stage", "faults"), [("ecg", ECG_FAULTS), ("teacher", ECHO_FAULTS)])
def test_each_damage_has_its_row(stage: Stage, faults: dict, damaged: Run, finished: Run) -> None:
    found = list(reasons_by_file(damaged, stage).values())
    usual = list(reasons_by_file(finished, stage).values())
    for name, (_, reasons) in faults.items():
        assert any(found.count(reason) > usual.count(reason) for reason in reasons), name
    assert len(found) == len(usual) + len(faults)
    counts = damaged.artefacts[stage].manifest.counts
    assert counts["refused"] == len(found)


def test_a_recipe_may_admit_records_of_fewer_leads(damaged: Run, tmp_path: Path) -> None:
    """The record without V6 is in the pool as six leads, and not for training; other faults are refused as before."""
    recipe = find_recipe("smoke", ["ecg.max_refused_share=0.5", "ecg.lead_sets=[twelve, six]"])
    job = make_job(recipe, str(damaged.job.export), str(tmp_path / "workspace"))
    run = run_stages(job, "catalog", "ecg")
    refused = set(reasons_by_file(damaged, "ecg").items()) - set(reasons_by_file(run, "ecg").items())
    assert [reason for _, reason in refused] == ["missing_leads"]
    rows = RECORDS.read(run.artefacts["ecg"].folder).to_pylist()
    (fewer,) = [row for row in rows if row["lead_findings"] & QUALITY_FLAGS["absent"]]
    assert (fewer["flagged_leads"], fewer["use"]) == (6, "refer")
    assert finding_counts(run.artefacts["ecg"])["absent"] == 1
    (page,) = pages_of(job.workspace, run.artefacts["ecg"], [fewer["record_id"]])
    assert page.note == "absent: V1, V2, V3, V4, V5, V6"
    assert [bool(lead.any()) for lead in page.signal] == [True] * 6 + [False] * 6


def test_refusals_are_not_tried_again(damaged: Run) -> None:
    job = make_job(damaged.job.recipe, str(damaged.job.export), str(damaged.job.workspace.root), start_from="ecg")
    run = run_stages(job, "catalog", "ecg")
    assert run.artefacts["ecg"].manifest.content == damaged.artefacts["ecg"].manifest.content
    shutil.rmtree(job.store.folder("ecg", run.versions["ecg"]))
    assert run_stages(job, "catalog", "ecg").artefacts["ecg"].manifest.run.new_keys == 0


def test_too_many_refusals_fail_the_stage_and_keep_the_rows(damaged: Run, tmp_path: Path) -> None:
    job = make_job(find_recipe("smoke", ["ecg.max_refused_share=0.0"]), str(damaged.job.export), str(tmp_path / "w"))
    with pytest.raises(UserError, match=r"ecg\.max_refused_share=0\.0") as fault:
        run_stages(job, "catalog", "ecg")
    kept = Path(str(fault.value).rsplit(" ", 1)[1])
    assert QUARANTINE.read(kept.parent).num_rows == len(reasons_by_file(damaged, "ecg"))
    assert job.store.published("ecg") == []


def test_a_csv_without_a_needed_column_is_one_line(export: Path, tmp_path: Path) -> None:
    shutil.copytree(export, tmp_path / "export")
    path = next((tmp_path / "export").rglob("record_list.csv"))
    path.write_text(path.read_text().replace("ecg_time", "when", 1))
    job = make_job(find_recipe("smoke", []), str(tmp_path / "export"), str(tmp_path / "workspace"))
    with pytest.raises(UserError, match=r"record_list\.csv.*ecg_time") as fault:
        run_stages(job, "catalog")
    assert "\n" not in str(fault.value)


def test_a_file_that_changes_after_the_catalog_stops_the_run(export: Path, tmp_path: Path) -> None:
    shutil.copytree(export, tmp_path / "export")
    job = make_job(find_recipe("smoke", []), str(tmp_path / "export"), str(tmp_path / "workspace"))
    run = run_stages(job, "catalog")
    _truncate(next((tmp_path / "export").rglob("*.hea")))
    from tasks.ecg import WORK

    with pytest.raises(StoreError, match="has changed since the catalog"):
        WORK.run(job, run.artefacts)
    assert job.store.published("ecg") == []


@contextmanager
def _tmpfs(folder: Path, options: str) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("size", [pytest.param(one, marks=pytest.mark.slow) for one in ("64k", "400k", "1m", "7m")])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_published(size: str, finished: Run, tmp_path: Path) -> None:
    with _tmpfs(tmp_path / "small", f"size={size}"):
        workspace = tmp_path / "small" / "workspace"
        job = make_job(finished.job.recipe, str(finished.job.export), str(workspace))
        with pytest.raises(StoreError, match="disk is full") as fault:
            run_stages(job)
        assert "\n" not in str(fault.value)
        for artefact in job.store.published():
            assert artefact.manifest.content == finished.artefacts[artefact.stage].manifest.content
        assert not list(workspace.glob("artefacts/*/.building-*"))
        subprocess.run(["mount", "-o", "remount,size=200m", str(tmp_path / "small")], check=True)
        again = run_stages(make_job(job.recipe, str(job.export), str(workspace)))
        assert again.content == finished.content


def test_a_read_only_workspace_is_one_line(finished: Run, tmp_path: Path) -> None:
    with _tmpfs(tmp_path / "fixed", "ro"):
        job = make_job(finished.job.recipe, str(finished.job.export), str(tmp_path / "fixed" / "workspace"))
        with pytest.raises(StoreError, match=r"read-only: choose another folder"):
            run_stages(job)


_CUT_OFF = """
import os, signal, time
from contextvars import copy_context
from functools import partial
from echoingecg.common import running
from flows import stopping
stopping.GRACE_SECONDS = 0.2
with stopping.interruptible(grace=0.2):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(9)
    except stopping.Interrupted as end:
        stopping.ask_stages_to_stop(end.number, partial(copy_context().run, time.sleep, 1))
        time.sleep(9)
"""


def test_a_stage_that_does_not_stop_is_cut_off_in_one_line() -> None:
    """The command and the flow each set a watch; both are over while the server is being told."""
    ended = subprocess.run([sys.executable, "-c", _CUT_OFF], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 143
    assert ended.stderr == "stopped by SIGTERM: run again, it goes on from its last commit or checkpoint\n"


def test_a_signal_when_all_is_done_does_not_kill() -> None:
    """A command that has said its last line ends well, or with the code of a signal: never killed by it."""
    codes = set()
    for number in range(12):
        words = (sys.executable, "-m", "flows.cli.main", "--version")
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            assert running.stdout is not None
            running.stdout.readline()
            time.sleep(number / 400)
            running.terminate()
            _, said = running.communicate()
        codes.add((running.returncode, said.count(b"\n")))
    assert codes <= {(0, 0), (143, 1)}


_IN_A_TASK_GROUP = """
import os, signal
from flows import stopping
from flows.cli import main
def serve() -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except stopping.Interrupted as end:
        raise BaseExceptionGroup("unhandled errors in a TaskGroup", [end]) from end
main.app = serve
main.program()
"""


def test_a_signal_within_a_task_group_is_one_line_too() -> None:
    words = (sys.executable, "-c", _IN_A_TASK_GROUP)
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 143
    assert ended.stderr == "stopped by SIGTERM: run again, it goes on from its last commit or checkpoint\n"
