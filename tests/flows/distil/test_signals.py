"""Ctrl-C, SIGTERM and `docker stop` end a run within ten seconds, in a line; run again, it goes on to the same bytes.

Everything is real: the command, servers, `serve`, workers, signals. A container is a PID namespace here, whose first
process gets what `docker stop` sends; with `tini` installed, every second one has that before it, as `init: true` does.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from data_contracts.monitoring import ExportRecord
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import Run, run_stages
from helpers.paths import ROOT
from helpers.servers.prefect_server import Server, process, server_at, serving, started, wait_for
from tasks.base.workspace import Workspace
from tasks.store import ArtefactStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

LIMIT = 10.0  # s: then Docker kills
PATIENCE = 600.0
MOMENTS = 20
PROGRAM = (sys.executable, "-m", "flows.cli.main")
SETTINGS = {"student.epochs": "12", "student.checkpoint_steps": "1000"}  # no checkpoint but that of the signal
OVERRIDES = [f"{name}={value}" for name, value in SETTINGS.items()]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
AS_ROOT = () if os.geteuid() == 0 else ("--user", "--map-root-user")
CONTAINER = ("unshare", *AS_ROOT, "--pid", "--fork", "--kill-child", "--mount-proc")
INIT = ("tini", "--") if shutil.which("tini") else ()
BEGINS = {  # by stage: what the log says when it begins
    "start": "",
    "simulate": "Beginning flow run",
    "catalog": "'simulate' - Finished",
    "ecg": "'catalog' - Finished",
    "teacher": "'ecg' - Finished",
    "pairs": "'teacher' - Finished",
    "student": "'pairs' - Finished",
    "evaluation": "'student' - Finished",
    "end": "'evaluation' - Finished",
}
ROUND = ("start", "simulate", "catalog", "ecg", "teacher", "pairs", "student", "student", "evaluation", "end")


@dataclass(frozen=True)
class Way:
    """How a process is told to end: the signal, to whom, and in what it runs."""

    number: signal.Signals
    is_group: bool = False
    container: tuple[str, ...] = ()

    def send(self, running: subprocess.Popen[bytes]) -> None:
        if self.is_group:
            os.killpg(running.pid, self.number)
        else:
            (first,) = psutil.Process(running.pid).children() if self.container else [psutil.Process(running.pid)]
            first.send_signal(self.number)

    @contextmanager
    def ended(self, running: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
        """A process that is told to end with the block: `unshare` hands no signal on to what it has started."""
        try:
            yield running
        finally:
            if running.poll() is None:
                self.send(running)


WAYS = {
    "Ctrl-C": Way(signal.SIGINT, is_group=True),
    "kill -INT": Way(signal.SIGINT),
    "kill": Way(signal.SIGTERM),
    "systemd": Way(signal.SIGTERM, is_group=True),
    "docker stop": Way(signal.SIGTERM, container=CONTAINER),
    "docker stop, init": Way(signal.SIGTERM, container=(*CONTAINER, *INIT)),
}


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Whoever runs the tests in the background of a shell has them, and what they start, ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module", autouse=True)
def _containers() -> None:
    if subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not make PID namespaces here")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with started(server := server_at(home), home):
        yield server


@dataclass
class Place:
    """A workspace, the log of the commands in it, and where their server is; without one each starts its own."""

    root: Path
    server: Server | None = None
    export: str = ""
    workspace: Path = field(init=False)

    def __post_init__(self) -> None:
        self.root.mkdir(exist_ok=True)
        self.workspace = self.root / "workspace"

    @property
    def log(self) -> Path:
        return self.root / "run.log"

    @contextmanager
    def run(self, way: Way) -> Iterator[subprocess.Popen[bytes]]:
        """`echoingecg run` in a process group of its own, as a terminal starts it."""
        environment = {**os.environ, "PREFECT_HOME": str(self.root / "prefect"), "PYTHONPATH": str(ROOT)}
        environment.pop("PREFECT_API_URL", None)
        environment |= self.server.environment if self.server else {}
        words = [word for override in OVERRIDES for word in ("--set", override)]
        words += ["--export", self.export, "--public-data"] if self.export else []
        self.log.unlink(missing_ok=True)
        command = (*way.container, *PROGRAM, "run", "smoke", "--workspace", str(self.workspace), *words)
        with process(*command, log=self.log, environment=environment, group=True) as running, way.ended(running):
            yield running

    def content(self) -> Run:
        """What a run has left here; it must be whole."""
        done = run_stages(make_job(find_recipe("smoke", OVERRIDES), self.export, str(self.workspace)))
        assert all(done.cached.values())
        return done


@dataclass(frozen=True)
class Undisturbed:
    """A run of the command that nobody stopped, and how long its stages took, s."""

    run: Run
    seconds: dict[str, float]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    place = Place(tmp_path_factory.mktemp("left-alone"))
    begun: dict[str, float] = {}
    with place.run(WAYS["kill"]) as running:
        while running.poll() is None:
            log = place.log.read_text(errors="replace")
            begun |= {stage: time.monotonic() for stage in BEGINS.keys() - begun.keys() if BEGINS[stage] in log}
            time.sleep(0.02)
        ended = time.monotonic()
    assert running.returncode == 0, place.log.read_text()
    ends = [*(begun[stage] for stage in [*BEGINS][1:]), ended]
    return Undisturbed(
        place.content(), {stage: max(0.0, end - begun[stage]) for stage, end in zip(BEGINS, ends, strict=True)}
    )


def stop(running: subprocess.Popen[bytes], way: Way, log: Path) -> tuple[float, bool]:
    """Tells a process to end and checks how it does: how long that took, s, and whether it had ended well before."""
    before, children = log.read_text(errors="replace"), psutil.Process(running.pid).children(recursive=True)
    begin = time.monotonic()
    if running.poll() is None:
        way.send(running)
    code = running.wait(PATIENCE)
    took = time.monotonic() - begin
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive, "what a run has started ends with it"
    after = log.read_text(errors="replace").removeprefix(before)
    assert "Traceback" not in after, after
    if code == 0:
        return took, True
    assert code == CODES[way.number], after
    assert took < LIMIT, after
    assert re.findall(r"^stopped by (\w+): run again", after, re.MULTILINE) == [way.number.name], after
    return took, False


def wait_in(log: Path, stage: str, running: subprocess.Popen[bytes], seconds: float) -> str:
    """Waits until so long after a stage has begun, or until the process has ended; the stage that had begun last."""
    end = time.monotonic() + PATIENCE
    while BEGINS[stage] not in log.read_text(errors="replace") and running.poll() is None:
        assert time.monotonic() < end, stage
        time.sleep(0.02)
    time.sleep(seconds)
    text = log.read_text(errors="replace")
    return [name for name, words in BEGINS.items() if words in text][-1]


def newest_state(server: Server) -> str:
    """Type of the state of the run that was made last."""
    runs = server.post("flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC", "limit": 1})
    return str(runs[0]["state"]["type"]) if runs else "none"


@pytest.mark.parametrize("with_server", [False, True], ids=["own server", "server"])
def test_signals_at_random_moments(
    undisturbed: Undisturbed, server: Server, with_server: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in each stage and run again, until it ends well; then from an empty workspace, twenty times in all."""
    draw, longest, stops, round_ = random.Random(23), dict.fromkeys(BEGINS, 0.0), 0, 0
    ways = [*WAYS] * -(-MOMENTS // len(WAYS))
    draw.shuffle(ways)
    while stops < MOMENTS:
        place = Place(tmp_path / str(round_ := round_ + 1), server if with_server else None)
        for stage in ROUND:
            share, way = draw.random(), WAYS[ways[stops]]
            while True:
                with place.run(way) as running:
                    after = 0.3 * (stage == "start") + share * undisturbed.seconds[stage]
                    hit = wait_in(place.log, stage, running, after)
                    took, had_ended = stop(running, way, place.log)
                if not had_ended:
                    break
                share /= 2  # a run that goes on has less to do
            state = newest_state(server) if with_server else ""
            if hit not in ("start", "end"):
                assert state in ("", "CRASHED"), "not Running for ever"
            longest[hit], stops = max(longest[hit], took), stops + 1
            there = ", ".join(one.stage for one in ArtefactStore(Workspace(place.workspace)).published()) or "nothing"
            with capsys.disabled():
                print(f"\n{ways[stops - 1]} {stops} during {hit}: {took:.1f} s {state}; published: {there}", end="")  # noqa: T201
        with place.run(WAYS["kill"]) as running:
            assert running.wait(PATIENCE) == 0, place.log.read_text()
        assert place.content().content == undisturbed.run.content
    with capsys.disabled():
        print("\nlongest, s:", {stage: round(seconds, 1) for stage, seconds in longest.items()})  # noqa: T201
    assert list(longest.values()).count(0.0) <= 1, "a stop in every stage, or in all but a short one"


@pytest.mark.parametrize("with_server", [False, True], ids=["own server", "server"])
def test_a_stopped_training_leaves_a_checkpoint(
    undisturbed: Undisturbed, server: Server, with_server: bool, tmp_path: Path
) -> None:
    place = Place(tmp_path, server if with_server else None)
    with place.run(way := WAYS["Ctrl-C"]) as running:
        wait_for(lambda: " - student: " in place.log.read_text() or running.poll() is not None, "student", PATIENCE)
        assert stop(running, way, place.log)[1] is False
    assert len(list(place.workspace.glob("scratch/student/*/checkpoint.safetensors"))) == 1
    with place.run(way) as running:
        assert running.wait(PATIENCE) == 0, place.log.read_text()
    assert place.content().content == undisturbed.run.content


@contextmanager
def offered(kind: str, server: Server, root: Path, way: Way) -> Iterator[subprocess.Popen[bytes]]:
    """`serve`, or a worker, once it takes runs."""
    words = ("serve", "smoke", "--workspace", str(root / "workspace"), "--inbox", str(root / "inbox"))
    words = words if kind == "serve" else ("worker", "cpu")
    log = root / f"{kind}.log"
    log.unlink(missing_ok=True)
    environment = server.environment | {"ECHOINGECG_HOME": str(ROOT), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    command = (*way.container, *PROGRAM, *words)
    with process(*command, log=log, environment=environment, group=True) as running, way.ended(running):
        wait_for(lambda: re.search("serving |started!", log.read_text()) or running.poll() is not None, kind)
        yield running


@pytest.mark.parametrize(
    ("kind", "name", "stage"),
    [
        ("serve", "Ctrl-C", "student"),
        ("serve", "kill", "teacher"),
        ("serve", "docker stop", "evaluation"),
        ("serve", "docker stop, init", "ecg"),
        ("worker", "Ctrl-C", "evaluation"),
        ("worker", "docker stop", "student"),
        ("worker", "docker stop, init", "teacher"),
    ],
)
def test_serve_and_workers_end_their_runs_first(
    kind: str, name: str, stage: str, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """A retrain is stopped with what runs it; it is Crashed at once, and started again it comes to the same bytes."""
    draw, way, place, server = random.Random(f"{kind} {name}"), WAYS[name], Place(tmp_path), server_at(tmp_path)
    shutil.copytree(undisturbed.run.job.export, tmp_path / "inbox" / "first")
    (tmp_path / "inbox" / "first" / "_COMPLETE").touch()
    overrides = [{"field": name, "value": value} for name, value in SETTINGS.items()]
    places = {"workspace": str(place.workspace), "inbox": str(tmp_path / "inbox")}

    def start() -> str:
        return server.start_run(
            "retrain/retrain", recipe="smoke", **places, public_data=True, warm_start=False, overrides=overrides
        )

    with started(server, tmp_path):
        if kind == "worker":
            deploy(server, place)
        with offered(kind, server, tmp_path, way) as running:
            run = start()
            log = tmp_path / f"{kind}.log"
            hit = wait_in(log, stage, running, draw.random() * undisturbed.seconds[stage])
            took, had_ended = stop(running, way, log)
        print(f"{kind}, {name}, during {hit}: {took:.1f} s")  # noqa: T201 - seen with pytest -s
        assert not had_ended
        assert server.state(run)["type"] == "CRASHED"
        (record,) = place.workspace.glob("private/exports/*.json")
        assert ExportRecord.model_validate_json(record.read_bytes()).tries == 0, "a stop is no try"
        with offered(kind, server, tmp_path, way):
            run = start()
            wait_for(lambda: server.state(run)["type"] in ("COMPLETED", "FAILED", "CRASHED"), "the end", PATIENCE)
        assert server.state(run)["name"] == "Completed", server.state(run)["message"]
    made = {one.stage: one.manifest.content for one in ArtefactStore(Workspace(place.workspace)).published()}
    assert made == undisturbed.run.content


def deploy(server: Server, place: Place) -> None:
    """`prefect deploy --all`, as for workers."""
    for pool in ("cpu", "gpu"):
        server.prefect("work-pool", "create", pool, "--type", "process")
    names = {"ECHOINGECG_WORKSPACE": str(place.workspace), "ECHOINGECG_INBOX": str(place.root)}
    typed = (sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all")
    environment = server.environment | names | {"ECHOINGECG_HOME": str(ROOT)}
    subprocess.run(typed, cwd=ROOT, env=environment, capture_output=True, check=True)


def test_a_run_that_is_cancelled_in_the_ui_leaves_a_checkpoint(undisturbed: Undisturbed, tmp_path: Path) -> None:
    server, workspace = server_at(tmp_path), tmp_path / "workspace"
    overrides = [{"field": name, "value": value} for name, value in SETTINGS.items()]
    with started(server, tmp_path), serving(server, tmp_path, "smoke", "--workspace", str(workspace)):
        run = server.start_run(
            "distil/distil", recipe="smoke", workspace=str(workspace), export=str(undisturbed.run.job.export),
            public_data=True, overrides=overrides,
        )  # fmt: skip
        wait_for(lambda: " - student: " in (tmp_path / "serve.log").read_text(), "the student", PATIENCE)
        server.post(f"flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}, "force": False})
        wait_for(lambda: server.state(run)["type"] == "CANCELLED", "the cancelled run", 60)
    assert len(list(workspace.glob("scratch/student/*/checkpoint.safetensors"))) == 1
