"""`echoingecg search`: what in the cohort is like an ECG, an echo study or a sentence."""

from typing import Annotated

import typer

from data_contracts.errors import UserError
from flows.cli.artefacts import WorkspaceOption, open_store
from flows.cli.students import StudentOption


def search(
    file: Annotated[str, typer.Argument(help="An ECG file: finds echo studies.")] = "",
    study: Annotated[str, typer.Option("--study", help="Pseudonym of an echo study: finds ECGs.")] = "",
    text: Annotated[str, typer.Option("--text", help="A sentence about an echo: finds ECGs.")] = "",
    k: Annotated[int, typer.Option("--k", min=1, help="How many to find.")] = 10,
    student: StudentOption = "",
    workspace: WorkspaceOption = "workspace",
) -> None:
    """Nearest echo studies of the cohort, or nearest ECGs. Prints distances, pseudonyms and echo reports."""
    from data_contracts.prediction import NOTICE
    from flows.cli.output import progress_line
    from tasks.operations.predict import find_student
    from tasks.operations.search import Cohort
    from tasks.search import ecgs_like, studies_like

    if sum(map(bool, (file, study, text))) != 1:
        raise UserError("search: give one of FILE, --study and --text")
    store = open_store(workspace)
    with progress_line("ECGs") as progress:
        cohort = Cohort(store, find_student(store, student), progress)
        if file:
            hits = studies_like(cohort, file, k)
        else:
            hits = ecgs_like(cohort, cohort.study(study) if study else cohort.sentence(text), k)
    typer.echo(NOTICE, err=True)
    for hit in hits:
        typer.echo(f"{hit.distance:.4f}  {hit.name}  {hit.report}".rstrip())
