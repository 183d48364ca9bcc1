"""Stage ecg on exams that lie together in HDF5 files: signals, a unit that is stated anew, a unit that cannot be."""

from pathlib import Path

import numpy as np
import pytest

from data_contracts import ecg
from echoingecg.common import Refusal, UserError
from echoingecg.ecg.decode import decode
from echoingecg.ecg.process import process
from echoingecg.recipe import EcgSettings
from flows.request import find_recipe
from helpers.cases.code_15 import ORDER, code_15_export, exam, padded, signal, write_part
from helpers.cases.hospital import write_csv
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from tasks.pools import PoolSignals

SHORT = ["ecg.min_duration=5", "catalog.public_key=public"]


def stages_of(export: Path, workspace: Path, *overrides: str) -> Run:
    job = make_job(find_recipe("smoke", [*SHORT, *overrides]), str(export), str(workspace), only=["catalog", "ecg"])
    return run_stages(job, "catalog", "ecg")


def signals_of(run: Run) -> np.ndarray:
    """All signals, in the order of record_id."""
    records = ecg.RECORDS.read(run.artefacts["ecg"].folder)
    assert records.num_rows > 0
    signals = PoolSignals(run.job.workspace, run.artefacts["ecg"])
    order = np.argsort(signals.record_ids)
    return signals.read(order)


def test_the_stage_makes_of_an_exam_what_it_makes_of_the_same_ecg_as_npy(tmp_path: Path) -> None:
    export = tmp_path / "export"
    rows = code_15_export(export)
    run = stages_of(export, tmp_path / "workspace")
    settings = run.job.recipe.ecg
    made = signals_of(run)
    assert len(made) == len(rows)
    for row in rows:
        np.save(tmp_path / "one.npy", signal(int(row["exam_id"])).astype(np.float32))
        expected = process(tmp_path / "one.npy", settings, "mV", 400.0, ORDER).signal
        assert np.abs(made - expected).max(axis=(1, 2)).min() < 0.002, "within the steps of float32 and of the filter"


def test_another_unit_gives_other_signals_though_no_file_has_changed(tmp_path: Path) -> None:
    code_15_export(tmp_path / "export")
    first, second, third = (
        signals_of(stages_of(tmp_path / "export", tmp_path / "workspace", *unit))
        for unit in ([], ["catalog.array_unit=0.05 mV"], [])
    )
    np.testing.assert_allclose(second, first / 2, atol=0.002)
    np.testing.assert_array_equal(third, first)


def test_exams_of_another_fault_do_not_hide_a_wrong_unit(tmp_path: Path) -> None:
    """62 % of CODE-15 are too short for a student of 10 s."""
    export = tmp_path / "export"
    rows = code_15_export(export, exams=12)
    rows += [exam(number, number, 2) for number in range(30)]
    write_csv(export / "exams.csv", rows)
    short = [padded(signal(number, 1200)) for number in range(30)]
    write_part(export / "exams_part2.hdf5", list(range(30)), short, last=99)
    with pytest.raises(UserError, match=r"12 of 12 ECGs of the stated unit '0\.01 mV'"):
        stages_of(export, tmp_path / "workspace", "catalog.array_unit=0.01 mV", "ecg.max_refused_share=1")


@pytest.mark.parametrize("unit", ["0.01 mV", "1 mV"])
def test_a_cohort_whose_amplitudes_cannot_be_those_of_the_unit_stops_the_stage(tmp_path: Path, unit: str) -> None:
    """The real files hold about 1.6 mV as 1.6: read as the publisher's 1e-4 V, they would have 0.16 mV."""
    code_15_export(tmp_path / "export", exams=24)
    words = f"24 of 24 ECGs of the stated unit '{unit}' have amplitudes that no ECG has.*catalog.array_unit"
    with pytest.raises(UserError, match=words):
        stages_of(tmp_path / "export", tmp_path / "workspace", f"catalog.array_unit={unit}")


def test_real_exams_are_no_ecgs_in_the_unit_that_the_publisher_writes(recordings: Path, tmp_path: Path) -> None:
    """Against the PhysioNet Challenge 2025, which wrote these exams as WFDB with the stored numbers as mV."""
    settings = EcgSettings(min_duration=3.0)
    records = sorted((recordings / "code15_wfdb").glob("*.hea"))
    refused = 0
    for path in records:
        ecg_ = decode(path)
        np.save(tmp_path / "stored.npy", ecg_.signal.astype(np.float32))
        process(tmp_path / "stored.npy", settings, "mV", ecg_.sampling_frequency, ecg_.leads)
        with pytest.raises(Refusal, match="implausible"):
            process(tmp_path / "stored.npy", settings, "0.1 mV", ecg_.sampling_frequency, ecg_.leads)
        refused += 1
    assert refused == len(records) > 1
