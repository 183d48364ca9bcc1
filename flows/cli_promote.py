"""`echoingecg promote`: does a challenger take the champion's place?"""

from typing import Annotated

import typer

from flows.cli.artefacts import NameArgument, WorkspaceOption, open_store


def promote(
    challenger: NameArgument,
    over: Annotated[str, typer.Option("--over", help="Alias that names the champion; made if it is not there.")],
    workspace: WorkspaceOption = "workspace",
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe whose promotion section is the rule.")] = "demo",
    overrides: Annotated[
        list[str], typer.Option("--set", help="Replace a field: promotion.least_gain=0.01. Repeatable.")
    ] = [],  # noqa: B006
) -> None:
    """Compare two students on the same test patients, and move the alias if the recipe's rule says so."""
    from flows.request import find_recipe
    from tasks.operations.promote import promote as decide

    decision, path = decide(open_store(workspace), challenger, over, find_recipe(recipe, overrides).promotion)
    for one in decision.compared:
        if one.gain is not None and one.low is not None:
            typer.echo(
                f"{one.endpoint}: {decision.rule['metric']} {one.champion:.3f} to {one.challenger:.3f}, gain "
                f"{one.gain:+.3f} ({one.low:+.3f} to {one.high:+.3f}); {one.records} ECGs of {one.patients} patients, "
                f"{one.positives} positive"
            )
    typer.echo(f"{decision.verdict}: {decision.says}")
    typer.echo(path)
