"""A private Postgres cluster on loopback, that can be stopped and started; never run by root."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect_server import free_address

from deploy.postgres import programs
from echoingecg.errors import UserError

OWNER = "postgres"


@dataclass(frozen=True)
class Postgres:
    """A cluster in a folder that its owner can reach."""

    folder: Path
    port: str

    @property
    def url(self) -> str:
        """For PREFECT_API_DATABASE_CONNECTION_URL."""
        return f"postgresql+asyncpg://{OWNER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        self._run("pg_ctl", "-D", str(self.folder), "-o", options, "-l", f"{self.folder}.log", "-w", "start")

    def stop(self) -> None:
        """Connections are cut, as by a restart of the database."""
        self._run("pg_ctl", "-D", str(self.folder), "-m", "fast", "-w", "stop")

    def create(self) -> None:
        self._run("initdb", "-D", str(self.folder), "-U", OWNER, "--auth=trust", "--no-sync")

    def _run(self, program: str, *arguments: str) -> None:
        as_owner = {"user": OWNER, "group": OWNER, "extra_groups": []} if os.geteuid() == 0 else {}
        command = (str(programs() / program), *arguments)
        quiet = subprocess.DEVNULL  # pg_ctl's child would hold a pipe open
        subprocess.run(command, check=True, cwd="/", stdout=quiet, stderr=quiet, **as_owner)  # type: ignore[call-overload]


def postgres(folder: Path) -> Postgres:
    """A new cluster, not started.

    Args:
        folder: must not exist; others can reach its parent.
    """
    try:
        programs()
    except UserError as fault:
        pytest.skip(str(fault))
    folder.mkdir(parents=True, mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(folder, OWNER, OWNER)
    made = Postgres(folder / "cluster", free_address().rpartition(":")[2])
    made.create()
    return made
