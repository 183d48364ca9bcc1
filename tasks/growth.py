"""What an export brought: how much of it was new, how much reused, and that no patient changed side."""

from collections.abc import Mapping
from typing import Any

from data_contracts.conventions import Stage
from data_contracts.pairs import PATIENTS
from echoingecg.common.errors import ContractError
from tasks.store.artefacts import Artefact, ArtefactStore


def growth(store: ArtefactStore, made: Mapping[Stage, Artefact], champion: Artefact | None) -> list[dict[str, Any]]:
    """A row each for ECGs, echo clips and patients: how many, how many new.

    Args:
        store: holds the champion's pairs.
        made: artefacts of the retrain.
        champion: the evaluation before it; None for the first.

    Raises:
        ContractError: a patient stands on another side of the split than in the champion's pairs.
    """
    listed = made["catalog"].manifest.counts
    lineage = store.lineage(champion) if champion else {}
    ecg, teacher = made["ecg"], made["teacher"]
    rows = [
        _row("ECGs", listed["ecgs"], ecg, lineage.get("ecg") == ecg.version),
        _row("echo clips", listed["echoes"], teacher, lineage.get("teacher") == teacher.version),
    ]
    sides, before = _sides(made["pairs"]), _sides_of_champion(store, champion)
    known = sides.keys() & before.keys()
    if moved := sum(sides[one] != before[one] for one in known):
        raise ContractError(f"{moved} of {len(known)} patients changed split: use the champion's pairs.split and key")
    new = len(sides) - len(known)
    return [*rows, {"what": "patients in pairs", "in the export": len(sides), "new": new, "reused": len(known)}]


def _row(what: str, total: int, artefact: Artefact, is_champions: bool) -> dict[str, Any]:
    """An artefact of the champion's own says what was new then."""
    new = 0 if is_champions else artefact.manifest.run.new_keys or 0
    return {"what": what, "in the export": total, "new": new, "reused": total - new}


def _sides(pairs: Artefact) -> dict[str, str]:
    table = PATIENTS.read(pairs.folder)
    return dict(zip(table["patient_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def _sides_of_champion(store: ArtefactStore, champion: Artefact | None) -> dict[str, str]:
    found = store.find("pairs", store.lineage(champion)["pairs"]) if champion else None
    return _sides(found) if found else {}
