"""The database of docker-compose.yml as a process on loopback, that can be stopped and started."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from echoingecg.common import UserError
from helpers.servers.prefect_server import free_address
from tests.stack.compose import service
from tests.stack.postgres import programs, start_postgres
from tests.stack.processes import Running, end

SERVICE = service("postgres", {"POSTGRES_PASSWORD": "of-a-test"})


@dataclass
class Postgres:
    """A cluster in a folder that others can reach; made when it is first started."""

    folder: Path
    port: str = field(default_factory=lambda: free_address().rpartition(":")[2])
    _running: list[Running] = field(default_factory=list)

    @property
    def url(self) -> str:
        """For PREFECT_API_DATABASE_CONNECTION_URL."""
        user, password, database = (SERVICE.environment[f"POSTGRES_{one}"] for one in ("USER", "PASSWORD", "DB"))
        return f"postgresql+asyncpg://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        log = self.folder / "postgres.log"
        self._running.append(start_postgres(SERVICE, self.port, self.folder / "cluster", log, os.environ))

    def stop(self) -> None:
        """Connections are cut, as by a restart of the database."""
        end(self._running.pop())


def postgres(folder: Path) -> Postgres:
    """One that is not started."""
    try:
        programs()
    except UserError as fault:
        pytest.skip(str(fault))
    return Postgres(folder)
