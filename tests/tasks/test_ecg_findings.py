"""What stage ecg makes of findings: refused, referred, left out or kept; and the seconds that are bad."""

import csv
from pathlib import Path

import numpy as np
import pytest

from data_contracts.conventions import LEADS
from data_contracts.ecg import ARRAYS, BAD_SECONDS, RECORDS
from data_contracts.quarantine import QUARANTINE
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import run_stages
from helpers.ecg.synthetic_hearts import twelve_leads
from helpers.ecg.wfdb_files import write_record
from tasks.pools import Pool, array_of, rows_by_key, rows_of
from tasks.store import Artefact, Job

HEART = twelve_leads()


def stage_ecg(root: Path, ecgs: dict[str, np.ndarray], *settings: str) -> tuple[Job, Artefact]:
    """The artefact of stage ecg on WFDB records of these signals, each of a patient of its own."""
    (root / "export/ecgs").mkdir(parents=True)
    rows = []
    for number, (name, signal) in enumerate(ecgs.items()):
        write_record(root / "export/ecgs" / name, signal.T, sig_name=list(LEADS))
        rows.append([number, name, f"2021-03-0{number + 1} 08:00:00", f"ecgs/{name}"])
    with (root / "export/ecgs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["patient_id", "ecg_id", "time", "path"], *rows])
    overrides = ["catalog.layout=generic", "catalog.public_key=open", "ecg.max_refused_share=1", *settings]
    job = make_job(find_recipe("paper", overrides), str(root / "export"), str(root / "workspace"))
    return job, run_stages(job, "catalog", "ecg").artefacts["ecg"]


def ecgs_with_faults() -> dict[str, np.ndarray]:
    half, hum, held = HEART.copy(), HEART.copy(), HEART.copy()
    half[:, 2500:] = half[:, [2500]]
    hum[3] += 0.1 * np.sin(2 * np.pi * 50 * np.arange(5000) / 500)
    held[LEADS.index("V2"), 1000:2500] = 0.4
    return {"sound": HEART, "half": half, "hum": hum, "held": held, "zeros": np.zeros_like(HEART)}


@pytest.mark.parametrize(
    ("settings", "uses", "refused"),
    [
        ([], ["keep", "keep", "refer", "refer"], ["no_signal"]),
        (["ecg.rules.mains=leave_out"], ["keep", "leave_out", "refer", "refer"], ["no_signal"]),
        (["ecg.rules.flat_seconds=refuse"], ["keep", "keep"], ["flat_seconds", "flat_seconds", "no_signal"]),
    ],
)
def test_the_records_say_what_may_be_used(
    tmp_path: Path, settings: list[str], uses: list[str], refused: list[str]
) -> None:
    _, artefact = stage_ecg(tmp_path, ecgs_with_faults(), *settings)
    records = RECORDS.read(artefact.folder)
    assert sorted(records["use"].to_pylist()) == uses
    assert artefact.manifest.counts["not_for_training"] == len(uses) - uses.count("keep")
    quarantine = QUARANTINE.read(artefact.folder).to_pylist()
    assert {row["reason"] for row in quarantine} == {"poor_quality"}
    assert sorted(row["detail"].partition(":")[0] for row in quarantine) == refused


def test_the_pool_keeps_the_bad_seconds_of_each_lead(tmp_path: Path) -> None:
    job, artefact = stage_ecg(tmp_path, ecgs_with_faults())
    assert artefact.manifest.run.pool is not None
    group = Pool.read(job.workspace, artefact.manifest.run.pool)
    for array in ARRAYS:
        array_of(group, array)
    row_of, seconds = rows_by_key(group), rows_of(group, BAD_SECONDS)
    stored = [seconds[row_of[key]].tolist() for key in RECORDS.read(artefact.folder)["content_hash"].to_pylist()]
    sound, hum, held, half = sorted(stored, key=sum)
    assert sound == hum == [0] * 12
    assert held == [3 if lead == "V2" else 0 for lead in LEADS]
    assert set(half) <= {5, 6}, "what is quiet beside the held part counts with it"
