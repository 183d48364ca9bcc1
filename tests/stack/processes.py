"""Processes that are started together and end together."""

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from echoingecg.common import UserError

MARK = "ECHOINGECG_STACK"  # in the environment of every process of a stack: its data folder
_PATIENCE = 15.0  # s that a process has to end by itself
_READY = 180.0  # s that a process has to become usable


@dataclass(frozen=True)
class Running:
    """A process of the stack.

    Attributes:
        name: of its service, numbered where there are several.
        process: the process itself.
        log: what it prints.
        probe: command that ends with 0 once it can be used.
        environment: its own, also the probe's.
        stop: signal that asks it to end.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    probe: Sequence[str]
    environment: Mapping[str, str]
    stop: signal.Signals

    def check(self) -> None:
        """Raises UserError when it has ended."""
        if (code := self.process.poll()) is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise UserError(
                f"{self.name} has ended ({code}): {lines[-1] if lines else 'without a word'}; see {self.log}"
            )

    def wait_until_ready(self) -> None:
        """Returns once the probe succeeds. Raises UserError when it has ended, or takes too long."""
        end = time.monotonic() + _READY
        while (
            self.probe and subprocess.run(self.probe, env=self.environment, capture_output=True, check=False).returncode
        ):
            self.check()
            if time.monotonic() > end:
                raise UserError(f"{self.name} cannot be used after {_READY:.0f} s; see {self.log}")
            time.sleep(0.2)
        self.check()


def start(
    name: str,
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str],
    folder: Path,
    probe: Sequence[str] = (),
    user: str | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Running:
    """Starts a process in a session of its own, so that Ctrl-C reaches the caller alone.

    Raises:
        UserError: the program is not installed.
    """
    as_user = {"user": user, "group": user, "extra_groups": []} if user else {}
    try:
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder, env=dict(environment),
                start_new_session=True, **as_user,  # type: ignore[call-overload]
            )  # fmt: skip
    except FileNotFoundError as fault:
        raise UserError(f"{name}: no program '{command[0]}' here: install the extra 'test' of this project") from fault
    return Running(name, process, log, probe, environment, stop)


def end(running: Running) -> None:
    """Asks a process to end, and kills it if it has not in time. What it has started is for `sweep`."""
    if running.process.poll() is None:
        running.process.send_signal(running.stop)
        try:
            running.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()


def marked(folder: Path) -> list[psutil.Process]:
    """Every process of the stack of this folder, whoever its parent is now."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):  # gone, or another user's
            if one.environ().get(MARK) == str(folder):
                found.append(one)
    return found


def sweep(folder: Path) -> int:
    """Ends whatever is left of the stack of this folder; returns how many processes that were."""
    count = len(left := marked(folder))
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for one in left:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(sign)
        _, left = psutil.wait_procs(left, timeout=_PATIENCE / 3)
    return count
