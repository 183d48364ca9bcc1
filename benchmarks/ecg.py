"""WFDB to filtered, committed Zarr: the ecg stage against wfdb.rdrecord + sosfiltfilt + resample_poly per file."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import wfdb
from scipy.signal import butter, resample_poly, sosfiltfilt

from benchmarks.measure import Row, seconds
from flows.order import find_recipe, make_job
from tasks.job import Job
from tasks.registry import WORKS

PATIENTS = 150


def _plain(headers: list[Path]) -> None:
    for header in headers:
        record = wfdb.rdrecord(str(header.with_suffix("")))
        sos = butter(4, (0.5, 40.0), "bandpass", fs=record.fs, output="sos")
        filtered = sosfiltfilt(sos, record.p_signal, axis=0)
        resample_poly(filtered, 100, record.fs, axis=0, window=("kaiser", 5.0), padtype="median")


def _ours(job_of_new_workspace: Job) -> None:
    catalog, _ = WORKS["catalog"].run(job_of_new_workspace, {})
    WORKS["ecg"].run(job_of_new_workspace, {"catalog": catalog})


def rows() -> Iterator[Row]:
    """Simulated ECGs; our side includes the catalog, hashing every file twice, and the commits."""
    from echoingecg.simulator.export import simulate

    with tempfile.TemporaryDirectory() as folder:
        small = ["simulator.frame_rate=1", "simulator.frame_height=64", "simulator.frame_width=64"]
        settings = [f"simulator.patients={PATIENTS}", "simulator.real_recordings=false", *small]
        recipe = find_recipe("demo", settings)
        assert recipe.simulator is not None
        export = Path(folder) / "export"
        simulate(recipe.simulator, export)
        headers = sorted(export.rglob("*.hea"))
        turn = iter(range(100))

        def ours() -> None:
            _ours(make_job(recipe, str(export), f"{folder}/workspace-{next(turn)}"))

        yield Row(
            f"{len(headers)} WFDB records to committed Zarr, one process",
            "rdrecord + sosfiltfilt + resample_poly per file, nothing written",
            seconds(lambda: _plain(headers)),
            seconds(ours),
        )
