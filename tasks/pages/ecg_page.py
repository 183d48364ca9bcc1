"""A look at an ecg artefact: pages of some of its signals, and its refusals by reason. Nothing in it names anyone."""

import base64
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from data_contracts import ecg as contract
from data_contracts.quarantine import QUARANTINE, REASONS
from echoingecg.common import StoreError
from echoingecg.recipe import EcgSettings
from tasks.base.workspace import Workspace
from tasks.pools import pool, signals
from tasks.store.artefact import Artefact

if TYPE_CHECKING:
    from echoingecg.ecg.plot import Page

_DPI = 60  # 80 kB a page: Prefect keeps it in its database


def sample_page(workspace: Workspace, artefact: Artefact) -> bytes | None:
    """PNG of two filtered ECGs: the first in which nothing was found and the one with most found; None of no records.

    Args:
        workspace: holds the pool.
        artefact: of stage ecg, of this release's contract.

    Raises:
        StoreError: the pool is gone or lacks a signal.
    """
    from echoingecg.ecg.plot import draw  # matplotlib: not for a cached run

    table = contract.RECORDS.read(artefact.folder).select(["record_id", "flagged_leads", "record_findings"])
    records = sorted(table.to_pylist(), key=lambda row: row["record_id"])
    if not records:
        return None
    shown = dict.fromkeys(one["record_id"] for one in (min(records, key=_found), max(records, key=_found)))
    return draw(pages_of(workspace, artefact, list(shown)), _DPI)


def pages_of(workspace: Workspace, artefact: Artefact, record_ids: Sequence[str]) -> "list[Page]":
    """Pages of filtered ECGs in the order asked for.

    Args:
        workspace, artefact: as for `sample_page`.
        record_ids: of the artefact's records.

    Raises:
        StoreError: the pool is gone or lacks a signal, or there is no such record.
    """
    from echoingecg.ecg.plot import filtered_page

    table = contract.RECORDS.read(artefact.folder)
    key = dict(zip(table["record_id"].to_pylist(), table["content_hash"].to_pylist(), strict=True))
    if missing := [name for name in record_ids if name not in key]:
        raise StoreError(f"{artefact} holds no record '{missing[0]}': was it made again?")
    assert artefact.manifest.run.pool is not None
    group = pool.Pool.read(workspace, artefact.manifest.run.pool)
    signal, quality, findings = (
        pool.array_of(group, one) for one in (contract.SIGNAL, contract.QUALITY, contract.FINDINGS)
    )
    settings = EcgSettings.model_validate(artefact.manifest.recipe)
    return [
        filtered_page(np.asarray(signal[row]), np.asarray(quality[row]), int(np.asarray(findings[row])), settings)
        for row in signals.rows_in_pool(group, [key[name] for name in record_ids])
    ]


def _found(row: dict) -> tuple[int, int]:
    return int(row["record_findings"]).bit_count(), row["flagged_leads"]


def finding_counts(artefact: Artefact) -> dict[str, int]:
    """ECGs with each finding on a lead or on the recording; findings that occur, in the order of their bits."""
    table = contract.RECORDS.read(artefact.folder)
    counts: dict[str, int] = {}
    for column, flags in (("record_findings", contract.RECORD_FLAGS), ("lead_findings", contract.QUALITY_FLAGS)):
        masks = table[column].to_numpy()
        counts |= {name: count for name, bit in flags.items() if (count := int(np.count_nonzero(masks & bit)))}
    return counts


def show(workspace: Workspace, artefact: Artefact) -> None:
    """Publishes the refusals and the page to Prefect. Needs a task run."""
    reasons = Counter(QUARANTINE.read(artefact.folder)["reason"].to_pylist())
    create_table_artifact(
        [{"reason": reason, "meaning": REASONS[reason], "ECGs": count} for reason, count in reasons.most_common()],
        key="ecg-refusals",
        description=f"{artefact}: {reasons.total()} refused",
    )
    lines = [f"- {name}: {count:,} ECGs" for name, count in finding_counts(artefact).items()] or ["Nothing found."]
    page = sample_page(workspace, artefact)
    if page is not None:
        image = base64.b64encode(page).decode("ascii")
        lines.append(f"\n![two filtered ECGs](data:image/png;base64,{image})")
    create_markdown_artifact("\n".join(lines), key="ecg-samples", description=f"{artefact}: findings and samples")
