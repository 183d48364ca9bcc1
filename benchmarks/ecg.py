"""WFDB to filtered, committed Zarr: the ecg stage against what the published recipe's reader would write down.

The plain route: for each record `wfdb.rdsamp`, `scipy.signal.sosfiltfilt` (Butterworth, order 4, 0.5-40 Hz),
`resample_poly` (Kaiser 5, median padding), leads put in order by name, `numpy.save` of one float32 file. It
checks nothing, hashes nothing and commits nothing. It runs in one process, and in two that share the
records. Ours is the whole stage as flows run it, from a finished catalog to a published artefact: every file
hashed again, every checksum proved, the quality findings, digests, an Icechunk pool, the tables.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import wfdb
from scipy.signal import butter, resample_poly, sosfiltfilt
from threadpoolctl import threadpool_limits

from benchmarks.ecg_export import ecg_job, write_export
from benchmarks.measure import Row, at_least, at_most, in_fresh_process, once, peak_mb
from data_contracts.conventions import LEADS
from tasks.all_stages import WORKS
from tasks.base.workspace import Workspace
from tasks.ecg import LAYOUT
from tasks.pools import Pool
from tasks.store import Job

RECORDS = 5_000
FEW, MANY = 2_000, 20_000
_TOGETHER = 16  # records that the stage judges together
PLAIN = "rdsamp + sosfiltfilt + resample_poly + one .npy a record"


def stage(job: Job) -> float:
    """Wall seconds of the ecg stage; the catalog before it is not counted."""
    catalog, _ = WORKS["catalog"].run(job, {})
    return once(lambda: WORKS["ecg"].run(job, {"catalog": catalog}))


def plain(headers: list[str], folder: str) -> None:
    for number, header in enumerate(headers):
        signal, fields = wfdb.rdsamp(header.removesuffix(".hea"))
        sections = butter(4, (0.5, 40.0), "bandpass", fs=fields["fs"], output="sos")
        filtered = sosfiltfilt(sections, signal, axis=0)
        result = resample_poly(filtered, 100, int(fields["fs"]), axis=0, window=("kaiser", 5.0), padtype="median")
        rows = [fields["sig_name"].index(lead) for lead in LEADS]
        np.save(f"{folder}/{number}.npy", result[:, rows].T.astype(np.float32))


def peaks(export: str, workspace: str, workers: int) -> list[float]:
    """Peak resident MB when the stage is done: of its process and of the largest worker (0 where there is none)."""
    if workers == 1:
        stage(ecg_job(export, workspace))
        return [peak_mb(), 0.0]
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster:
        stage(ecg_job(export, workspace, dask=cluster.scheduler_address))
        with Client(cluster) as client:
            return [peak_mb(), max(client.run(peak_mb).values())]


def _two(headers: list[str], folder: str) -> None:
    shares = [(headers[half::2], f"{folder}/{half}") for half in range(2)]
    for _, place in shares:
        Path(place).mkdir(exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(plain, shares)


def _cat(headers: list[str]) -> None:
    for header in headers:
        Path(header).read_bytes()
        Path(header).with_suffix(".dat").read_bytes()


def _breakdown(headers: list[str]) -> Iterator[tuple[str, float]]:
    """Seconds of each step by itself, one after another, one thread, over all records."""
    from echoingecg.common import hash_array
    from echoingecg.ecg.decode.recording import Stated
    from echoingecg.ecg.decode.wfdb_fast import decode_plain, read_plain
    from echoingecg.ecg.fast_filter import filter_records
    from echoingecg.ecg.quality import assess_quality, typical_amplitude
    from echoingecg.recipe import EcgSettings

    settings = EcgSettings()
    steps = ("reading, header parsed", "hashing", "decoding", "filtering", "plausibility", "quality", "digest")
    spent = dict.fromkeys(steps, 0.0)

    def timed(step: str, work: Callable[..., Any], *given: Any) -> Any:
        start = time.perf_counter()
        made = work(*given)
        spent[step] += time.perf_counter() - start
        return made

    filter_records(np.zeros((1, 12, 5000), np.float32), 500.0, settings)  # the matrices are made once a process
    for start in range(0, len(headers), _TOGETHER):
        raws, rate = [], 500.0
        for header in headers[start : start + _TOGETHER]:
            record = timed(steps[0], read_plain, Path(header))
            timed("hashing", record.content_hash)
            raw, rate = timed("decoding", decode_plain, record, Stated())
            raws.append(raw)
        together, missing = np.stack(raws), np.zeros((len(raws), 12))
        signals = timed("filtering", filter_records, together, rate, settings)
        timed("plausibility", typical_amplitude, signals, 100.0)
        timed("quality", assess_quality, together, missing, signals, rate, settings)
        for signal in signals:
            timed("digest", hash_array, signal)
    yield from spent.items()


def _written(folder: str, records: int) -> tuple[float, float]:
    """Seconds to write as many signals into a pool, shard by shard, and to commit them."""
    pool = Pool(Workspace(Path(folder)), "ecg/benchmark", LAYOUT)
    signal = np.random.default_rng(0).normal(0, 0.2, (1024, 12, 1000)).astype(np.float32)
    rows = {"key": np.zeros((1024, 32), np.uint8), "signal": signal, "quality": np.zeros((1024, 12), np.uint8)}
    rows["findings"] = np.zeros(1024, np.uint8)
    rows["sha256"] = rows["key"]
    with pool.writing():
        draft = pool.draft()
        writing = sum(
            once(partial(draft.add, {name: values[: records - start] for name, values in rows.items()}))
            for start in range(0, records, 1024)
        )
        return writing, once(partial(draft.commit, {}))


def rows() -> Iterator[Row]:
    """Everything is read from the page cache: what is compared is the work, not the disk."""
    with tempfile.TemporaryDirectory() as folder:
        export = Path(folder) / "export"
        write_export(export, RECORDS)
        headers = sorted(str(path) for path in export.rglob("*.hea"))
        Path(folder, "plain").mkdir()
        stage(ecg_job(export, f"{folder}/warm"))
        work = f"{RECORDS} WFDB records (500 Hz, 10 s, 12 leads) to committed Zarr"
        alone = once(lambda: plain(headers, f"{folder}/plain"))
        ours = stage(ecg_job(export, f"{folder}/one"))
        yield Row(f"{work}, one process of three threads", f"{PLAIN}, one process", alone, ours, at_least(10))
        two = once(lambda: _two(headers, f"{folder}/plain"))
        ours = stage(ecg_job(export, f"{folder}/one-again"))
        yield Row(f"{work}, the same", f"{PLAIN}, two processes", two, ours)
        clustered = stage(ecg_job(export, f"{folder}/two", workers=2))
        yield Row(f"{work}, two Dask workers, their start counted", f"{PLAIN}, two processes", two, clustered)
        with threadpool_limits(1, user_api="blas"):
            steps = list(_breakdown(headers))
        for step, spent in steps:
            yield Row(f"of it, by itself: {step}", "", None, spent)
        writing, commit = _written(f"{folder}/written", RECORDS)
        yield Row("of it, by itself: writing to the pool", "", None, writing)
        yield Row("of it, by itself: one commit", "", None, commit)
        yield Row("the raw bytes read and dropped", "the stage in one process", ours, once(lambda: _cat(headers)))
        write_export(export, MANY, before=RECORDS)
        first = stage(ecg_job(export, f"{folder}/grows"))
        more = MANY + MANY // 100
        write_export(export, more, before=MANY)
        grown = stage(ecg_job(export, f"{folder}/grows"))
        yield Row(f"{MANY // 100} new records beside {MANY}", "the first run of all", first, grown, at_most(0.03))
        same = stage(ecg_job(export, f"{folder}/grows"))
        yield Row("the stage again, nothing new", "the first run of all", first, same)
        write_export(export, MANY, before=more)
        for workers in (1, 2):
            many = in_fresh_process("ecg", "peaks", str(export), f"{folder}/many-{workers}", workers)
            write_export(export, FEW, before=FEW)
            few = in_fresh_process("ecg", "peaks", str(export), f"{folder}/few-{workers}", workers)
            write_export(export, MANY, before=MANY)
            for who, small, large in zip(("stage's process", "largest worker"), few, many, strict=True):
                if large:
                    says = f"peak memory of the {who}, {workers} at work: {MANY} records"
                    yield Row(says, f"{FEW} records", small, large, at_most(1.2), "MB")
