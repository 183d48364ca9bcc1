"""A private Postgres cluster in a folder, on loopback, with passwords, never as root."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from echoingecg.common import UserError
from tests.stack.compose import Service
from tests.stack.processes import Running, start

_DEBIAN = Path("/usr/lib/postgresql")
_OWNER = "postgres"  # who runs it where we are root


def start_postgres(service: Service, port: str, folder: Path, log: Path, environment: Mapping[str, str]) -> Running:
    """Starts Postgres with the service's user, password and database; the cluster is made if it is not there.

    Args:
        service: its environment is that of the official image.
        port: on 127.0.0.1; no Unix socket is opened.
        folder: folder of the cluster.
        log: file for its output.
        environment: variables of its processes.

    Raises:
        UserError: Postgres is not installed, or the folder cannot be reached by who runs it.
    """
    binaries, owner = programs(), _OWNER if os.geteuid() == 0 else None
    variables = service.environment
    if not (folder / "PG_VERSION").exists():
        _reachable(folder.parent, owner)
        folder.mkdir(mode=0o700, exist_ok=True)
        if owner:
            shutil.chown(folder, owner, owner)
        with tempfile.NamedTemporaryFile("w", dir=folder.parent) as password:
            password.write(variables["POSTGRES_PASSWORD"])
            password.flush()
            if owner:
                shutil.chown(password.name, owner)
            arguments = (
                "--pgdata",
                str(folder),
                "--username",
                variables["POSTGRES_USER"],
                "--pwfile",
                password.name,
            )
            _run(
                (
                    binaries / "initdb",
                    *arguments,
                    "--no-instructions",
                    variables["POSTGRES_INITDB_ARGS"],
                ),
                owner,
                environment,
            )
    settings = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
    command = [
        str(binaries / "postgres"),
        "-D",
        str(folder),
        *(part for one in settings for part in ("-c", one)),
    ]
    address = ("--host=127.0.0.1", f"--port={port}", f"--username={variables['POSTGRES_USER']}")
    probe = (str(binaries / "pg_isready"), *address)
    running = start("postgres", command, log, environment, folder, probe, owner, stop=signal.SIGINT)
    running.wait_until_ready()
    login = {**environment, "PGPASSWORD": variables["POSTGRES_PASSWORD"]}
    databases = _run((binaries / "psql", *address, "--list", "--tuples-only", "--no-align", "postgres"), None, login)
    if not any(line.startswith(f"{variables['POSTGRES_DB']}|") for line in databases.splitlines()):
        _run((binaries / "createdb", *address, variables["POSTGRES_DB"]), None, login)
    return running


def programs() -> Path:
    """Returns the folder of Postgres' programs: the newest one of Debian, or the one that PATH names."""
    versions = sorted(_DEBIAN.glob("[0-9]*/bin"), key=lambda one: int(one.parent.name))
    if versions:
        return versions[-1]
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    raise UserError("no Postgres here: apt-get install postgresql")


def _reachable(folder: Path, owner: str | None) -> None:
    """Checks that the user who runs Postgres can reach the folder: root's own folders are often closed to others."""
    closed = [one for one in (folder, *folder.parents) if not one.stat().st_mode & 0o001]
    if owner and closed:
        raise UserError(
            f"{closed[-1]} is closed to the user '{owner}', who runs Postgres for root: choose another --data"
        )


def _run(command: tuple[str | Path, ...], owner: str | None, environment: Mapping[str, str]) -> str:
    as_user = {"user": owner, "group": owner, "extra_groups": []} if owner else {}
    done = subprocess.run(  # type: ignore[call-overload]
        [str(one) for one in command], env=environment, cwd="/", capture_output=True, text=True, check=False, **as_user
    )
    if done.returncode:
        raise UserError(f"{Path(command[0]).name}: {' '.join(done.stderr.split())}")
    return str(done.stdout)
