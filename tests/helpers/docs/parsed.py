"""Parses a command of the documentation as the command line would."""

import typer

from flows.cli.main import app


def parsed(words: tuple[str, ...]) -> typer.Context:
    """The command's own context, its arguments checked by typer."""
    command = typer.main.get_command(app)
    context = command.make_context("echoingecg", list(words[:1]), resilient_parsing=True)
    rest = list(words)
    while hasattr(command, "commands"):
        name = rest.pop(0)
        assert name in command.commands, f"no command '{name}'"
        command = command.commands[name]
    return command.make_context(command.name, rest, parent=context)
