"""Who is champion. Everything that moves the alias after a retrain goes through `crown`."""

from tasks.artefacts import Artefact, ArtefactStore


def champion_of(store: ArtefactStore, alias: str) -> Artefact | None:
    """The evaluation that the alias names; None where there is no such alias."""
    return store.get(alias) if alias in store.aliases() else None


def crown(store: ArtefactStore, challenger: Artefact, alias: str) -> str:
    """Points the alias at the challenger's evaluation; one line that says what was decided."""
    before = store.aliases().get(alias, "nobody")
    store.set_alias(alias, challenger)
    return f"{alias}: {challenger} takes the place of {before}"
