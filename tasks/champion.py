"""Who is champion. Everything that moves the alias after a retrain goes through `crown`."""

from echoingecg.common.errors import UserError
from echoingecg.recipe import PromotionSettings
from tasks.operations.promote import promote
from tasks.store.artefacts import Artefact, ArtefactStore


def champion_of(store: ArtefactStore, alias: str) -> Artefact | None:
    """The evaluation that the alias names, by its manifest; None where there is no such alias."""
    return store.named(alias) if alias in store.aliases() else None


def crown(store: ArtefactStore, challenger: Artefact, alias: str, rule: PromotionSettings) -> str:
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
