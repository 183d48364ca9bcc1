"""Champion and challenger: compared, decided by the rule, written down, and only then the alias moved.

Who is champion. Everything that moves the alias after a retrain goes through `crown`.
"""

from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from data_contracts.evaluation import PREDICTIONS
from data_contracts.monitoring import Decision, EndpointComparison
from echoingecg.common import StoreError, UserError, fingerprint, write_atomically
from echoingecg.recipe import PromotionSettings
from tasks.base.workspace import writing_to
from tasks.operations.predict import find_student
from tasks.store import artefact, artefacts


def promote(
    store: artefacts.ArtefactStore, challenger: str, alias: str, rule: PromotionSettings
) -> tuple[Decision, Path]:
    """Decides whether `alias` moves to the challenger's evaluation. Where there is no such alias yet, it does.

    Args:
        store: holds both.
        challenger: student or evaluation, by STAGE-VERSION or alias.
        alias: names the champion.
        rule: the recipe's section `promotion`.

    Returns:
        The decision, and the file that keeps it.

    Raises:
        UserError: no such student, the two are one, or were not judged on the same test ECGs.
    """
    locks = store.workspace.artefacts / ".locks"
    with writing_to(store.workspace.root):
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"alias-{alias}.lock"):
            new = find_student(store, challenger).evaluation
            before = store.aliases().get(alias)
            old = find_student(store, alias).evaluation if before else None
            decision = _decide(store, new, old, alias, rule)
            path = _keep(store, decision)
            if store.aliases().get(alias) != before:  # by another machine: our lock holds in this workspace alone
                raise StoreError(f"'{alias}' has moved meanwhile: promote again, against the new one")
            if decision.verdict == "promote":
                store.set_alias(alias, new)
            return decision, path


def _decide(
    store: artefacts.ArtefactStore,
    new: artefact.Artefact,
    old: artefact.Artefact | None,
    alias: str,
    rule: PromotionSettings,
) -> Decision:
    from echoingecg.evaluation.compare import compare_students, decide_promotion  # scikit-learn

    compared: tuple[EndpointComparison, ...] = ()
    promoted, says = True, f"there was no '{alias}' before"
    if old is not None:
        if old.version == new.version:
            raise StoreError(f"{new} is '{alias}' already")
        compared = compare_students(PREDICTIONS.read(old.folder), PREDICTIONS.read(new.folder), rule)
        promoted, says = decide_promotion(compared, rule)
    return Decision(
        alias=alias,
        verdict="promote" if promoted else "keep",
        says=says,
        rule=rule.model_dump(mode="json"),
        champion=str(old) if old else "",
        challenger=str(new),
        lineage={str(one): store.lineage(one) for one in (old, new) if one},
        compared=compared,
        decided=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _keep(store: artefacts.ArtefactStore, decision: Decision) -> Path:
    folder = store.workspace.decisions
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{decision.alias}-{fingerprint(decision.model_dump(mode='json'))}.json"
    write_atomically(path, decision.model_dump_json(indent=2) + "\n")
    return path


def champion_of(store: artefacts.ArtefactStore, alias: str) -> artefact.Artefact | None:
    """The evaluation that the alias names, by its manifest; None where there is no such alias."""
    return store.named(alias) if alias in store.aliases() else None


def promote_if_better(
    store: artefacts.ArtefactStore, challenger: artefact.Artefact, alias: str, rule: PromotionSettings
) -> str:
    """Lets a challenger's evaluation meet the champion; one line that says what was decided.

    Two that cannot be compared, as when the export has changed the labels of the champion's test ECGs, leave the
    champion in its place.
    """
    champion = champion_of(store, alias)
    if champion is not None and champion.version == challenger.version:
        return f"{alias}: {challenger} stays"
    try:
        decision, _ = promote(store, str(challenger), alias, rule)
    except UserError as fault:
        return f"{alias}: {champion} stays: {fault}"
    if decision.verdict == "promote":
        return f"{alias}: {challenger} takes the place of {champion or 'nobody'}: {decision.says}"
    return f"{alias}: {champion} stays: {decision.says}"
