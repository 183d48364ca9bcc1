"""Every service of docker-compose.yml as a process of this machine: up together, down together."""

import os
import random
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import boto3
from filelock import FileLock, Timeout

from echoingecg.common import UserError
from tests.stack.compose import ROOT, Service, service
from tests.stack.passwords import kept_passwords
from tests.stack.postgres import start_postgres
from tests.stack.processes import MARK, Running, end, start, sweep

CLIENT = "client.env"  # in the data folder: what a client's shell needs
# Names of docker-compose.yml, and where they listen here; a usual Postgres has 5432 already.
PORTS = {
    "POSTGRES_PORT": 15432, "SERVER_PORT": 4200, "SCHEDULER_PORT": 8786, "DASHBOARD_PORT": 8787, "STORAGE_PORT": 8333,
    "WORKER_CPU_PORT": 18080, "WORKER_GPU_PORT": 18081, "DASK_WORKER_PORT": 8790, "DASK_WORKER_2_PORT": 8791,
}  # fmt: skip
_FREE_PORTS = range(20000, 32768)  # below what the system gives to outgoing connections, which come and go
_PID = "stack.pid"


def up(data: Path, any_ports: bool, say: Callable[[str], None]) -> None:
    """Starts all services and stays until one ends, Ctrl-C, or SIGTERM; then ends all.

    Args:
        data: folder that keeps the database, the workspace, logs and `.env`; made if need be.
        any_ports: take free ports instead of the usual ones.
        say: called with each line of progress.

    Raises:
        UserError: a port is taken, a program is missing, a service ended.
    """
    data.mkdir(parents=True, exist_ok=True)
    with _only_keeper(data), _interruptible(), ExitStack() as running:
        sweep(data)  # of a stack whose keeper was killed
        running.callback(_tidy, data)
        variables = _variables(data, any_ports)
        everything = _start_all(data, variables, running, say)
        client = service("pipeline", variables).environment
        _keep(data / CLIENT, {**client, "ECHOINGECG_DASK": f"tls://127.0.0.1:{variables['SCHEDULER_PORT']}"})
        say(f"ready: {client['PREFECT_API_URL'].removesuffix('/api')}, user and password in {data / '.env'}")
        say(f"a client's shell: . {data / CLIENT}; end with Ctrl-C or `make stack-down`")
        while True:
            for one in everything:
                one.check()
            time.sleep(0.5)


def down(data: Path) -> int:
    """Ends the stack of this folder; returns how many processes had outlived their keeper."""
    if not data.is_dir():
        return 0
    lock = _lock(data)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        os.kill(int((data / _PID).read_text()), signal.SIGTERM)
        lock.acquire()
    with lock:
        left = sweep(data)
        _tidy(data)
    lock.release()
    return left


def _start_all(
    data: Path, variables: Mapping[str, str], running: ExitStack, say: Callable[[str], None]
) -> list[Running]:
    found: list[Running] = []

    def started(one: Running) -> None:
        running.callback(end, one)
        found.append(one)

    def begin(*names: str) -> None:
        """Starts services side by side; returns once all can be used."""
        first = len(found)
        for name in names:
            several = service(name, variables).replicas
            for number in range(1, several + 1):
                described = service(name, {**variables, **_replica_port(number, variables)})
                started(_start(described, f"{name}-{number}" if several > 1 else name, data))
        for one in found[first:]:
            one.wait_until_ready()
        say(f"{', '.join(names)}: up")

    base = _environment(data, {})
    postgres = service("postgres", variables)
    log = data / "logs" / "postgres.log"
    started(start_postgres(postgres, variables["POSTGRES_PORT"], data / "postgres", log, base))
    started(_start_storage(data, variables))
    say("postgres, storage: up")

    def finish(name: str) -> None:
        """Runs a service that ends."""
        one = _start(service(name, variables), name, data)
        running.callback(end, one)
        if code := one.process.wait():
            raise UserError(f"{name}: ended with {code}; see {one.log}")

    finish("certificates")
    begin("server", "scheduler")
    begin("dask-worker")
    finish("deployments")
    begin("worker-cpu", "worker-gpu")
    return found


def _start(described: Service, name: str, data: Path) -> Running:
    environment = _environment(data, described.environment)
    return start(name, described.command, data / "logs" / f"{name}.log", environment, data / "scratch", described.probe)


def _start_storage(data: Path, variables: Mapping[str, str]) -> Running:
    """moto in place of SeaweedFS: an S3 server that keeps everything in memory."""
    port, url = variables["STORAGE_PORT"], variables["AWS_ENDPOINT_URL"]
    told = service("storage", variables).environment
    command = (sys.executable, "-m", "tests.stack.storage", port)
    probe = (sys.executable, "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)")
    running = start("storage", command, data / "logs" / "storage.log", _environment(data, told), ROOT, probe)
    running.wait_until_ready()
    keys = {"aws_access_key_id": told["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": told["AWS_SECRET_ACCESS_KEY"]}
    boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys).create_bucket(Bucket=told["S3_BUCKET"])
    return running


def _replica_port(number: int, variables: Mapping[str, str]) -> dict[str, str]:
    return {} if number == 1 else {"DASK_WORKER_PORT": variables[f"DASK_WORKER_{number}_PORT"]}


def _variables(data: Path, any_ports: bool) -> dict[str, str]:
    """Values of docker-compose.yml's variables on this machine, and its folders.

    Raises:
        UserError: a port is taken.
    """
    for name in ("inbox", "logs", "scratch", "tmp", "workspace"):
        (data / name).mkdir(exist_ok=True)
    ports = _free_ports(any_ports)
    known = kept_passwords(data / ".env") | {name: str(port) for name, port in ports.items()}
    hosts = dict.fromkeys(("BIND", "SERVER_HOST", "POSTGRES_HOST", "SCHEDULER_HOST"), "127.0.0.1")
    places = {"SCRATCH": data / "scratch", "TLS": data / "scratch" / "tls", "PROJECT": ROOT}
    places |= {"WORKSPACE": data / "workspace", "INBOX": data / "inbox"}
    storage = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['STORAGE_PORT']}"}
    return known | hosts | {name: str(path) for name, path in places.items()} | storage


def _free_ports(any_ports: bool) -> dict[str, int]:
    with ExitStack() as held:  # all at once, or two names could be given the same port
        found = {}
        for name, usual in PORTS.items():
            one = held.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if not any(_bound(one, port) for port in (random.sample(_FREE_PORTS, 100) if any_ports else [usual])):
                raise UserError(f"port {usual} is taken ({name}): end what listens there, or say --any-ports")
            found[name] = one.getsockname()[1]
        return found


def _bound(one: socket.socket, port: int) -> bool:
    try:
        one.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _environment(data: Path, own: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what would send a process elsewhere, and the service's own variables."""
    foreign = ("PREFECT_", "AWS_", "ECHOINGECG_", "PG")
    base = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    path = os.pathsep.join((str(Path(sys.executable).parent), base.get("PATH", os.defpath)))
    return {**base, "PATH": path, "TMPDIR": str(data / "tmp"), MARK: str(data), **own}


def _keep(path: Path, environment: Mapping[str, str]) -> None:
    path.touch(mode=0o600)
    path.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()))


def _tidy(data: Path) -> None:
    """Ends what is left of the processes, and removes what they needed only while they ran."""
    sweep(data)
    for name in ("tmp", "scratch"):
        shutil.rmtree(data / name, ignore_errors=True)
    for name in (CLIENT, _PID):
        (data / name).unlink(missing_ok=True)


@contextmanager
def _only_keeper(data: Path) -> Iterator[None]:
    lock = _lock(data)
    try:
        lock.acquire(blocking=False)
    except Timeout as fault:
        raise UserError(f"a stack runs in {data} already: end it with `make stack-down`") from fault
    try:
        (data / _PID).write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _lock(data: Path) -> FileLock:
    return FileLock(data / "stack.lock")


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, and both end it quietly."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
