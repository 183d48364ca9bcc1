"""The other lines of README and docs, as they stand there, in a shell: servers, workers, clients, `make`."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from echoingecg.common import UserError
from flows.deployments import DEPLOYMENTS
from flows.faults import AUTOMATION
from helpers.docs.parsed import parsed
from helpers.docs.shell_blocks import PAGES, Command, commands
from helpers.servers.prefect_server import ROOT, answers, free_address, wait_for
from tests.stack.compose import FILE
from tests.stack.postgres import programs
from tests.stack.processes import marked

Line = tuple[str, ...]
NOT_COPIED = (".git", ".venv", "build", "workspace", "__pycache__", ".*_cache", ".hypothesis")
TESTS = "it runs this test"
HERE = "test_commands_run.py runs the command behind it, on a smaller recipe"
NOT_RUN = {  # by the words a line begins with
    ("make", "test"): TESTS,
    ("make", "test-docs"): TESTS,
    ("make", "test-all"): TESTS,
    ("make", "demo"): HERE,
    ("make", "tutorial"): "test_commands_run.py runs the page",
    ("make", "bench"): "ten minutes",
    ("make", "bench-science"): "hours",
    ("make", "bench-stress"): "hours",
    ("python", "-m", "benchmarks"): "minutes",
    ("torchrun",): "the script is the reader's",
}
SERVE = ("echoingecg", "serve")
UMASK = 0o022  # of a terminal; a command of the same process may have made files private
STAYS = {  # by what they begin with: what a program that runs until it is stopped says once it is ready
    ("make", "stack"): "a client's shell",
    ("prefect", "server", "start"): "Check out the dashboard",
    ("echoingecg", "worker"): "started!",
    ("dask", "worker"): "Registered to",
    ("python", "-m", "http.server"): "Serving HTTP",
    SERVE: "Ctrl-C ends it",
}
MAKE = (("make", "docs"), ("make", "sbom"), ("make", ".env"), ("make", "flow"))
ALONE = (  # want no server
    ("echoingecg", "deployments"), ("python", "-m", "docs_reference.simulator_pictures"),
)  # fmt: skip
STACK = (("make", "stack"), ("make", "stack-down"), (".",))
SERVER = (
    ("prefect",), ("dask",), ("export",), ("echoingecg", "serve"), ("echoingecg", "worker"), ("echoingecg", "crashed"),
    ("python", "-m", "http.server"),
)  # fmt: skip
ORDER = {
    ("make", "stack"): -3, ("prefect", "server", "start"): -3, (".",): -2, ("export",): -1, ("make", "stack-down"): 1,
}  # fmt: skip


def begins(words: Line, *beginnings: Line) -> Line:
    """The one that the line begins with, empty for none."""
    return next((one for one in beginnings if words[: len(one)] == one), ())


def place(one: Command) -> str:
    """Where a line is run; `not run`, where it cannot be; empty if nobody has thought of it."""
    if begins(one.words, *NOT_RUN) or (one.needs and one.needs != "a Prefect server"):
        return "not run"
    if begins(one.words, *STACK) or (one.page == "docs/cluster.md" and begins(one.words, *SERVER)):
        return "stack"
    places = {"make": MAKE, "alone": ALONE, "server": SERVER, "compose": (("docker", "compose"),)}
    return next((name for name, beginnings in places.items() if begins(one.words, *beginnings)), "")


LINES = [one for one in commands() if one.words[0] != "echoingecg" or one.words[1:2] in (("serve",), ("worker",))]


def lines(where: str) -> list[Line]:
    """Those of a place, each once, in the order of the pages; servers first, their end last."""
    found = dict.fromkeys(one.words for one in LINES if place(one) == where and one.words != ("echoingecg", "serve"))
    return sorted(found, key=lambda words: ORDER.get(begins(words, *ORDER), 0))


@dataclass
class Shell:
    """A reader's shell, in a copy of the checkout.

    Attributes:
        folder: the copy.
        names: what stands in the docs, as a pattern, and what it is here.
        variables: what `export` has set, and what was there before.
        running: what does not end by itself, and what it prints.
    """

    folder: Path
    names: dict[str, str]
    variables: dict[str, str]
    running: list[tuple[subprocess.Popen[bytes], Path]] = field(default_factory=list)

    def type(self, words: Line) -> None:
        """Runs a line; returns at its end, or when it says that it is ready. Fails if it fails."""
        typed = [self._here(word) for word in words]
        if ready := begins(words, *STAYS):
            if ready == SERVE and "--name" not in words:  # a server refuses a second one of the same names
                self._stop(SERVE)
            self._stay(typed, STAYS[ready])
        elif words[0] in (".", "export"):
            self.variables = dict(
                one.split("=", 1) for one in self._run(["bash", "-c", f"{' '.join(typed)}; env -0"]).split("\0") if one
            )
        else:
            self._run(typed)

    def close(self) -> None:
        self._stop(())

    def _stop(self, start: Line) -> None:
        """Ends what began with these words, the last first."""
        for one, log in reversed(self.running):
            if tuple(one.args[: len(start)]) == start:
                one.send_signal(signal.SIGINT)
                try:
                    one.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(one.pid, signal.SIGKILL)
                    one.wait()
                self.running.remove((one, log))

    def _here(self, word: str) -> str:
        for pattern, here in self.names.items():
            word = re.sub(pattern, here, word)
        return word

    def _run(self, words: list[str]) -> str:
        done = subprocess.run(words, cwd=self.folder, env=self.variables, capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, umask=UMASK)  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stdout[-1000:]} {done.stderr[-2000:]}"
        return done.stdout

    def _stay(self, words: list[str], ready: str) -> None:
        log = self.folder / f"log-{len(self.running)}"
        with log.open("w") as out:
            one = subprocess.Popen(words, cwd=self.folder, env=self.variables, stdout=out, stderr=out,
                                   start_new_session=True, umask=UMASK)  # fmt: skip
        self.running.append((one, log))
        wait_for(lambda: ready in log.read_text() or one.poll() is not None, " ".join(words))
        if words[:2] == ["prefect", "server"]:  # it says so before it listens
            url = f"http://127.0.0.1:{self.variables['PREFECT_SERVER_API_PORT']}/api/health"
            wait_for(lambda: answers(url) or one.poll() is not None, url)
        assert one.poll() is None, log.read_text()[-2000:]


@contextmanager
def shell() -> Iterator[Shell]:
    """A copy of the checkout that others than its owner can reach: Postgres runs as a user of its own."""
    root = Path(tempfile.mkdtemp(prefix="echoingecg-docs-"))
    root.chmod(0o755)
    foreign = ("PREFECT_", "ECHOINGECG_", "AWS_", "PG")
    variables = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    programs_here = Path(sys.executable).parent
    variables |= {
        "PATH": f"{programs_here}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONPATH": str(root / "echoingecg"),
        "PYTHONUNBUFFERED": "1",
        "PREFECT_HOME": str(root / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    made = Shell(root / "echoingecg", {"(^|=)/data/": rf"\1{root}/data/"}, variables)
    try:
        shutil.copytree(ROOT, made.folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
        (venv := made.folder / ".venv").mkdir()  # this environment, for the Makefile: it installs nothing
        for one in ("bin", "lib", "pyvenv.cfg"):
            (venv / one).symlink_to(Path(sys.prefix) / one)
        for stamp in (".demo", ".test", ".docs"):
            (venv / stamp).touch()
        (root / "data/workspace/artefacts").mkdir(parents=True)
        (root / "data/inbox").mkdir()
        yield made
    finally:
        made.close()
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def checkout() -> Iterator[Shell]:
    with shell() as made:
        yield made


@pytest.fixture(scope="module")
def by_server() -> Iterator[Shell]:
    """The server's port and that of the artefacts are free ones."""
    with shell() as made:
        api, files = (free_address().rpartition(":")[2] for _ in range(2))
        made.variables["PREFECT_SERVER_API_PORT"] = api
        made.names |= {"(?<=:)4200": api, "4201": files, r"^my-recipe\.yaml$": "flows/recipes/smoke.yaml"}
        yield made


@pytest.fixture(scope="module")
def by_stack() -> Iterator[Shell]:
    try:
        programs()
    except UserError as absent:
        pytest.skip(str(absent))
    with shell() as made:
        yield made


def test_every_line_has_its_place() -> None:
    assert [str(one) for one in LINES if not place(one)] == []
    assert [one for one in NOT_RUN if not any(begins(line.words, one) for line in LINES)] == [], "in no page"
    assert all(lines(where) for where in ("make", "alone", "server", "stack", "compose"))


@pytest.mark.slow
@pytest.mark.parametrize("words", lines("alone") + lines("make"), ids=" ".join)
def test_it_runs_alone(words: Line, checkout: Shell) -> None:
    if words == ("make", "docs"):
        pytest.importorskip("mkdocs", reason="needs the extra `docs`")
    checkout.type(words)


@pytest.mark.slow
@pytest.mark.parametrize("words", lines("server"), ids=" ".join)
def test_it_runs_with_a_server(words: Line, by_server: Shell) -> None:
    by_server.type(words)


@pytest.mark.slow
def test_the_server_knows_what_was_typed(by_server: Shell) -> None:
    def ask(method: str, path: str, **body: Any) -> Any:
        return httpx.request(method, f"{by_server.variables['PREFECT_API_URL']}/{path}", json=body or None).json()

    def retrained() -> bool:
        runs = ask("POST", "flow_runs/filter", flows={"name": {"any_": ["retrain"]}})
        return any(one["state_name"] == "NothingNew" for one in runs)

    assert all(one.poll() is None for one, _ in by_server.running), [
        log.read_text()[-500:] for _, log in by_server.running
    ]
    assert {one.name for one in DEPLOYMENTS} <= {one["name"] for one in ask("POST", "deployments/filter")}
    assert [one["name"] for one in ask("POST", "automations/filter") if one["name"] == AUTOMATION]
    assert ask("GET", "variables/name/echoingecg_artefacts")["value"].startswith("http://127.0.0.1:")
    assert [one["status"] for one in ask("POST", "work_pools/cpu/workers/filter")] == ["ONLINE"]
    wait_for(retrained, "the event's retrain, on the worker")


@pytest.mark.slow
@pytest.mark.parametrize("words", lines("stack"), ids=" ".join)
def test_it_runs_with_the_stack(words: Line, by_stack: Shell) -> None:
    by_stack.variables["STACK"] = f"build/stack{' --any-ports' if words == ('make', 'stack') else ''}"
    by_stack.type(words)
    if words[0] == ".":
        known = {"http://SERVER:4200/api": "PREFECT_API_URL", "user:password": "PREFECT_API_AUTH_STRING"}
        known |= {"tls://SCHEDULER:8786": "ECHOINGECG_DASK"}
        by_stack.names |= {docs: by_stack.variables[here] for docs, here in known.items()} | {"ADDRESS": "127.0.0.1"}
    if words == ("make", "stack-down"):
        keeper, log = by_stack.running[0]
        assert keeper.wait(60) == 0, log.read_text()[-2000:]
        assert marked(by_stack.folder / "build/stack") == []


COMPOSE = {"up": {"-d", "--build", "--scale", "--force-recreate"}, "run": {"--rm"}, "cp": set()}  # options, by verb


@pytest.mark.parametrize("words", lines("compose"), ids=" ".join)
def test_compose_has_the_services_that_lines_name(words: Line) -> None:
    """No engine is at hand: held against the file."""
    services = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    _, _, *rest = words
    while rest[0] == "--profile":  # the test below looks whether there is such a profile
        rest = rest[2:]
    verb, *rest = rest
    assert {one for one in rest if one.startswith("-")} <= COMPOSE[verb]
    named = [one for one in rest if not one.startswith("-")]
    if verb == "run":
        assert named[0] in services
        assert '\nENTRYPOINT ["echoingecg"]' in (ROOT / "Dockerfile").read_text(encoding="utf-8")
        parsed(tuple(named[1:]))
    elif verb == "cp":
        assert named[0].partition(":")[0] in services
    else:
        assert all(re.fullmatch(r"[\w-]+=\d+", one) and one.partition("=")[0] in services for one in named)


def test_profiles_and_build_arguments_that_pages_name_exist() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in (*PAGES, FILE))
    profiles = {
        one for told in yaml.safe_load(FILE.read_text())["services"].values() for one in told.get("profiles", ())
    }
    assert {"gpu", "s3"} <= {*re.findall(r"--profile (\w+)", text)} <= profiles
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for name in re.findall(r"--build-arg (\w+)", text):
        assert f"ARG {name}" in dockerfile
