"""Is everything on disk what the manifests say: files, contracts, and every row in the pools."""

from collections.abc import Iterator

import numpy as np
import zarr

from data_contracts import ecg, teacher
from data_contracts.tables import TableContract
from echoingecg.common.errors import UserError
from echoingecg.fingerprint import hash_array
from echoingecg.progress import Progress
from tasks.pools.pool import Pool, array_of, rows_by_key, rows_of
from tasks.store.artefacts import Artefact, ArtefactStore
from tasks.store.join_shared import shared_store_of


def faults(store: ArtefactStore, artefact: Artefact) -> Iterator[str]:
    """One line for every difference; nothing when the artefact is sound."""
    yield from artefact.faults()
    for stage, version in artefact.manifest.inputs.items():
        if store.seen(stage, version) is None:
            yield f"{artefact}: its input {stage}-{version} is missing"
    if artefact.manifest.run.pool is None:
        return
    try:
        group = Pool.read(store.workspace, artefact.manifest.run.pool)
        if artefact.stage == "ecg":
            yield from _ecg(artefact, group)
        else:
            yield from _teacher(artefact, group)
    except UserError as fault:
        yield f"{artefact}: {fault}"


def examined(store: ArtefactStore, names: list[str], shared: bool, report: Progress) -> dict[str, list[str]]:
    """Every artefact that was looked at, with its faults.

    Args:
        store: of a workspace.
        names: STAGE-VERSION or aliases; empty for all, of the workspace or of the shared store.
        shared: look at the copies in the shared store.
        report: told how many are done.
    """
    if shared:
        return dict(shared_faults(store, names))
    chosen = [store.get(name) for name in names] or store.here()
    found: dict[str, list[str]] = {}
    for done, artefact in enumerate(chosen, start=1):
        found[str(artefact)] = list(faults(store, artefact))
        report(done, len(chosen), str(artefact))
    return found


def shared_faults(store: ArtefactStore, names: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Artefacts of the shared store (default: all), and a line for every file that is not as its manifest there says.

    Raises:
        StoreError: the workspace has joined none, no such artefact, or S3 does not let us in.
    """
    shared = shared_store_of(store)
    chosen = {(one.stage, one.version) for one in map(store.named, names)}
    for manifest in shared.manifests():
        if not chosen or (manifest.stage, manifest.version) in chosen:
            yield f"{manifest.stage}-{manifest.version}", list(shared.faults(manifest))


def _ecg(artefact: Artefact, group: zarr.Group) -> Iterator[str]:
    signal = array_of(group, ecg.SIGNAL)
    for row, at in _rows(artefact, ecg.records_of(artefact.manifest.contract_version), group):
        if at is None or hash_array(np.asarray(signal[at])) != row["signal_sha256"]:
            yield f"{artefact}: signal of {row['record_id']} is not in the pool as it was"


def _teacher(artefact: Artefact, group: zarr.Group) -> Iterator[str]:
    starts, frames = rows_of(group, teacher.CLIP_START), rows_of(group, teacher.CLIP_FRAMES)
    embedding = array_of(group, teacher.EMBEDDING)
    for row, at in _rows(artefact, teacher.CLIPS, group):
        held = at is not None and hash_array(np.asarray(embedding[starts[at] : starts[at] + frames[at]]))
        if held != row["embedding_sha256"]:
            yield f"{artefact}: embeddings of {row['clip_id']} are not in the pool as they were"


def _rows(artefact: Artefact, contract: TableContract, group: zarr.Group) -> Iterator[tuple[dict, int | None]]:
    rows = rows_by_key(group)
    for row in contract.read(artefact.folder).to_pylist():
        yield row, rows.get(row["content_hash"])
