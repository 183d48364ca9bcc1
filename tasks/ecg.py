"""Stage ecg: every ECG of the catalog as a filtered 12-lead signal in the pool; and pages that show some of them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import zarr

from data_contracts import catalog, conventions, quarantine
from data_contracts import ecg as contract
from echoingecg.common import Progress, StoreError, UserError, fingerprint
from echoingecg.ecg import CODE_VERSION
from echoingecg.ecg.quality import strictest_rules
from echoingecg.recipe import EcgSettings
from tasks import pools, stage
from tasks.base.workers import mapper
from tasks.base.workspace import Workspace
from tasks.ingest import ingest, supervised
from tasks.store import Artefact, Built, Inputs, Job

if TYPE_CHECKING:
    from echoingecg.ecg.plot import Page

_FILES_PER_BLOCK = 128  # what a worker is given at once, and returns as 6 MB
_FEWEST_FILES_PER_BLOCK, _SHARES = 16, 8
_IMPLAUSIBLE = "implausible"
_LEAST_IMPLAUSIBLE = 10  # fewer say nothing about a unit
_WRONG_UNIT_SHARE = 0.5
_PAGE_DPI = 60  # 80 kB a page: Prefect keeps it in its database

# A chunk of 32 records (1.5 MB) is written 2.6 times and read in order 3.3 times as fast as one of a single record.
# Shuffled batches read tasks.pools.signals.
LAYOUT = (
    pools.PoolArray(contract.KEY, (32,), 8192, 8192),
    pools.PoolArray(contract.SIGNAL, (len(conventions.LEADS), conventions.SAMPLES), 32, 1024, shuffled=True),
    pools.PoolArray(contract.QUALITY, (len(conventions.LEADS),), 8192, 8192),
    pools.PoolArray(contract.FINDINGS, (), 8192, 8192),
    pools.PoolArray(contract.BAD_SECONDS, (len(conventions.LEADS),), 8192, 8192),
    pools.PoolArray(contract.DIGEST, (32,), 8192, 8192),
)


def _build(job: Job, inputs: Inputs, folder: Path, progress: Progress) -> Built:
    execution = job.recipe.execution
    if execution.workers == 1 and not execution.dask:
        supervised.prepare("ecg")  # while the pool is opened and the list is read
    listed = catalog.ECGS.read(inputs["catalog"].folder)
    settings = job.recipe.ecg
    key = fingerprint([contract.POOL_VERSION, CODE_VERSION, settings.model_dump(exclude={"max_refused_share"})])
    pool = pools.Pool(job.workspace, f"ecg/{key}", LAYOUT, execution.pools)
    with pool.writing(thorough="ecg" in job.redo):
        new = _ingest(pool, ingest.missing_files(pool, job, listed), job, progress)
        snapshot, refused = pool.snapshot(), ingest.refused_files(pool)
    group = pools.Pool.read(job.workspace, snapshot)
    records, rows = _records(group, listed, settings)
    _check_units(listed, refused)
    refusals = quarantine.QUARANTINE.build(ingest.quarantine_rows(listed, refused))
    stage.check_refusals(job, "ecg", refusals, listed.num_rows, settings.max_refused_share)
    for array in contract.ARRAYS:
        pools.array_of(group, array)
    contract.RECORDS.write(records, folder)
    pools.write_pool_content(folder, group, rows)
    quarantine.QUARANTINE.write(refusals, folder)
    flagged = int(np.count_nonzero(records["flagged_leads"].to_numpy() | records["record_findings"].to_numpy()))
    unused = records.num_rows - records["use"].to_pylist().count("keep")
    counts = {"records": records.num_rows, "flagged": flagged, "not_for_training": unused}
    return Built(counts | {"refused": refusals.num_rows}, snapshot, new)


def _ingest(pool: pools.Pool, missing: ingest.SourceFiles, job: Job, progress: Progress) -> int:
    if not missing:
        return 0
    execution = job.recipe.execution
    # A few new files are shared out evenly, too.
    block_size = min(_FILES_PER_BLOCK, execution.commit_every, max(_FEWEST_FILES_PER_BLOCK, len(missing) // _SHARES))
    with mapper(execution, -(-len(missing) // block_size)) as run:
        blocks = partial(run, partial(supervised.ecg_block, job.recipe.ecg, supervised.Limits.of(execution)))
        return ingest.ingest_blocks(pool, missing, blocks, block_size, execution.commit_every, progress)


def _check_units(listed: pa.Table, refused: Mapping[str, tuple[str, str]]) -> None:
    """Raises UserError where most ECGs of a unit that the export states are far too small or too large for it.

    ECGs that were refused for another reason, such as their length, do not count.
    """
    ecgs, implausible = Counter[str](), Counter[str]()
    for key, unit in zip(listed["content_hash"].to_pylist(), listed["stated_unit"].to_pylist(), strict=True):
        reason = refused.get(key, ("", ""))[0]
        if unit is not None and reason in ("", _IMPLAUSIBLE):
            ecgs[unit] += 1
            implausible[unit] += reason == _IMPLAUSIBLE
    for unit, wrong in sorted(implausible.items()):
        if wrong >= _LEAST_IMPLAUSIBLE and wrong > _WRONG_UNIT_SHARE * ecgs[unit]:
            raise UserError(
                f"ecg: {wrong} of {ecgs[unit]} ECGs of the stated unit '{unit}' have amplitudes that no ECG has: it is "
                "wrong; state another, in the export's column 'unit', as catalog.array_unit or catalog.standardised"
            )


def _records(group: zarr.Group, listed: pa.Table, settings: EcgSettings) -> tuple[pa.Table, np.ndarray]:
    """(RECORDS, their rows in the pool): all signals in the pool of every listed recording, which may have several."""
    signals = list(_signals(listed, pools.rows_by_key(group), settings.long == "several"))
    rows = np.array([signal[-1] for signal in signals], dtype=np.int64)
    quality, findings = (pools.rows_of(group, array)[rows] for array in (contract.QUALITY, contract.FINDINGS))
    names = ("record_id", "patient_id", "content_hash", "recording_id")
    columns: dict[str, Any] = {name: [signal[index] for signal in signals] for index, name in enumerate(names)}
    columns |= {
        "flagged_leads": np.count_nonzero(quality, axis=1),
        "lead_findings": np.bitwise_or.reduce(quality, axis=1),
        "record_findings": findings,
        "use": strictest_rules(quality, findings, settings),
    }
    return pa.table(columns, schema=contract.RECORDS.schema), rows


def _signals(listed: pa.Table, row_of: Mapping[str, int], several: bool) -> Iterator[tuple[str, str, str, str, int]]:
    """Yields name, patient, key and recording of every signal in the pool, and its row there."""
    recordings = (listed[name].to_pylist() for name in ("record_id", "patient_id", "content_hash"))
    for recording, patient, content_hash in zip(*recordings, strict=True):
        for window in count() if several else range(1):
            row = row_of.get(key := contract.window_key(content_hash, window))
            if row is None:
                break
            yield contract.window_name(recording, window), patient, key, recording, row


def finding_counts(artefact: Artefact) -> dict[str, int]:
    """Number of ECGs with each finding, on a lead or on the recording; only findings that occur, in order of bits."""
    table = read_records(artefact)
    counts: dict[str, int] = {}
    for column, flags in (("record_findings", contract.RECORD_FLAGS), ("lead_findings", contract.QUALITY_FLAGS)):
        masks = table[column].to_numpy()
        counts |= {name: number for name, bit in flags.items() if (number := int(np.count_nonzero(masks & bit)))}
    return counts


def read_records(artefact: Artefact) -> pa.Table:
    """The records of an artefact, as its contract version has them."""
    return contract.records_contract(artefact.manifest.contract_version).read(artefact.folder)


def sample_page(workspace: Workspace, artefact: Artefact) -> bytes | None:
    """PNG of two filtered ECGs, the first with fewest and the first with most findings; None without records.

    Args:
        workspace: holds the pool.
        artefact: of stage ecg, of contract version 2 or later.

    Raises:
        StoreError: the pool is gone or lacks a signal.
    """
    from echoingecg.ecg.plot import draw  # matplotlib: not for a cached run

    table = read_records(artefact).select(["record_id", "flagged_leads", "record_findings"])
    records = sorted(table.to_pylist(), key=lambda row: row["record_id"])
    if not records:
        return None
    chosen = (min(records, key=_findings), max(records, key=_findings))
    return draw(pages_of(workspace, artefact, list(dict.fromkeys(row["record_id"] for row in chosen))), _PAGE_DPI)


def _findings(row: dict) -> tuple[int, int]:
    return int(row["record_findings"]).bit_count(), row["flagged_leads"]


def pages_of(workspace: Workspace, artefact: Artefact, record_ids: Sequence[str]) -> "list[Page]":
    """Pages of filtered ECGs, in the order of `record_ids`.

    Args:
        workspace: holds the pool.
        artefact: of stage ecg, of contract version 2 or later.
        record_ids: of the artefact's records.

    Raises:
        StoreError: the pool is gone or lacks a signal, or there is no such record.
    """
    from echoingecg.ecg.plot import filtered_page

    table = read_records(artefact)
    key = dict(zip(table["record_id"].to_pylist(), table["content_hash"].to_pylist(), strict=True))
    if missing := [name for name in record_ids if name not in key]:
        raise StoreError(f"{artefact} holds no record '{missing[0]}': was it made again?")
    assert artefact.manifest.run.pool is not None
    group = pools.Pool.read(workspace, artefact.manifest.run.pool)
    of_findings = contract.findings_contracts(artefact.manifest.contract_version)
    signal, quality, findings = (pools.array_of(group, array) for array in (contract.SIGNAL, *of_findings))
    settings = EcgSettings.of_artefact(artefact.manifest.recipe)
    return [
        filtered_page(
            pools.read_rows(signal, row), pools.read_rows(quality, row), int(pools.read_rows(findings, row)), settings
        )
        for row in pools.rows_in_pool(group, [key[name] for name in record_ids])
    ]


def _show(job: Job, inputs: Inputs, artefact: Artefact) -> None:
    """Publishes the refusals, the findings and a page to Prefect. They name no patient."""
    lines = [f"- {name}: {number:,} ECGs" for name, number in finding_counts(artefact).items()] or ["Nothing found."]
    page = sample_page(job.workspace, artefact)
    if page is not None:
        lines.append("\n" + stage.png_in_markdown("two filtered ECGs", page))
    stage.show_samples(artefact, "ECGs", lines)


WORK = stage.StageWork("ecg", contract.CONTRACT_VERSION, CODE_VERSION, _build, show=_show)
ecg = stage.as_task(WORK)
