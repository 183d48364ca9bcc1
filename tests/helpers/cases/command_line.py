"""Calls the command line as a person does, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "flows.cli.main"]


def call(*arguments: str, home: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "COLUMNS": "200", **environment}
    settings.pop("PREFECT_API_URL", None)
    if home is not None:
        settings["PREFECT_HOME"] = str(home)
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=settings, check=False)
