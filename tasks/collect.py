"""Garbage collection: artefacts that nothing needs, and what killed runs left behind."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from data_contracts.conventions import STAGES
from tasks.artefacts import Artefact, ArtefactStore
from tasks.workspace import writing_to

_LEFTOVER_AGE = 24 * 3600.0  # seconds; younger ones may belong to a run that is still going


def collect(store: ArtefactStore, delete: bool) -> Iterator[str]:
    """Lists, and with `delete` removes, artefacts outside every kept lineage and old leftovers.

    Kept is the lineage of the newest evaluation and of every alias. Pools are never touched: they are
    shared by versions and hold what was costly.

    Yields:
        one line for every folder.
    """
    kept = {name for artefact in _roots(store) for name in store.lineage(artefact).items()}
    surplus = [one.folder for one in store.published() if (one.stage, one.version) not in kept]
    for folder in [*surplus, *_leftovers(store)]:
        if delete:
            with writing_to(store.workspace.root):
                shutil.rmtree(folder)
        yield f"{'deleted' if delete else 'would delete'} {folder.relative_to(store.workspace.root)}"


def _roots(store: ArtefactStore) -> list[Artefact]:
    newest = [found[-1] for stage in reversed(STAGES) if (found := store.published(stage))][:1]
    return newest + [store.get(name) for name in store.aliases()]


def _leftovers(store: ArtefactStore) -> list[Path]:
    old = time.time() - _LEFTOVER_AGE
    folders = [*store.workspace.artefacts.glob("*/.building-*"), *store.workspace.artefacts.glob("*/.replaced/*")]
    folders += [path for path in store.workspace.root.glob("scratch/*/*") if path.is_dir()]
    return sorted(folder for folder in folders if folder.stat().st_mtime < old)
