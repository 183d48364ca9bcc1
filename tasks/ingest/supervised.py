"""Decodes files in processes of their own, with limits of time and memory a file: no file can stop or alter a run.

One process imports the decoders, once, and forks the others. A process that dies or overruns costs the one file that it
was reading, which becomes a refusal; another process goes on with the rest. None of them gets the environment, where
keys and credentials may be. What comes back is JSON and plain numbers, never objects of Python: a decoder that a file
has taken over must not reach the run.
"""

import atexit
import ctypes
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from data_contracts.quarantine import STOPPED
from echoingecg.common import RecipeError, StoreError, UserError
from echoingecg.common.running import check_stop
from echoingecg.recipe import EcgSettings, ExecutionSettings, TeacherSettings

_PR_SET_PDEATHSIG = 1  # of prctl(2)
_LENGTH_BYTES = 8  # of a message's head
_MOST_HEAD_BYTES = 1 << 26
_STOP_MILLISECONDS = 300  # until a wait for a decoder notices that the run is to stop
_NUMERIC_KINDS = "fiub"
_IMPORTED = {"ecg": "echoingecg.ecg.process", "clip": "echoingecg.teacher.frames"}  # by kind: what decoders import
_LATE = 0.9  # of the time limit: a decoder's clock starts before its word of that arrives
_FAULTS = {"StoreError": StoreError, "RecipeError": RecipeError}
# Settings of arithmetic, by how their names begin: with another kernel of OpenBLAS a signal's last bits are others.
_KEPT_PREFIXES = ("OPENBLAS_", "MKL_", "OMP_", "GOTO_", "NPY_", "BLIS_", "DNNL_", "ONEDNN_", "ATEN_", "KMP_")
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class SourceFile:
    """A file of the export, and what it must hold. Its path is not shown: it may hold a name, and Dask logs arguments.

    Attributes:
        path: where it is.
        content_hash: under which its results are kept: a keyed digest, which no decoder can make.
        sha256: of its content when the catalog was made, from the private index.
        stated_unit, stated_sampling_frequency, stated_leads: what the export states about it, if anything.
    """

    path: Path = field(repr=False)
    content_hash: str
    sha256: str
    stated_unit: str | None = None
    stated_sampling_frequency: float | None = None
    stated_leads: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Attempt:
    """What became of one file, or of a part of it: a value, or a refusal (reason, detail).

    Attributes:
        content_hash: of the file.
        value: what it became.
        refusal: reason and detail, or None.
        sector: of a clip, one of data_contracts.teacher.SECTORS.
    """

    content_hash: str
    value: Any = None
    refusal: tuple[str, str] | None = None
    sector: str = "none"


@dataclass(frozen=True)
class Block:
    """What became of some files: their number, rows for the pool's arrays, and refusals by content hash."""

    files: int
    rows: Mapping[str, np.ndarray]
    refused: Mapping[str, tuple[str, str]]


class Limits(NamedTuple):
    """What one file may take: seconds by the clock, and MB of memory beyond what the decoders need themselves."""

    seconds: float
    megabytes: int

    @classmethod
    def of(cls, execution: ExecutionSettings) -> "Limits":
        return cls(execution.decode_seconds, execution.decode_megabytes)


def ecg_block(settings: EcgSettings, limits: Limits, files: Sequence[SourceFile]) -> Block:
    """ECG files as rows of the pool, or as refusals; see `tasks.ingest.blocks.ecg_block`.

    Raises:
        StoreError: a file cannot be read, or has changed since the catalog was made.
    """
    waiting, done = [list(files)], []
    while waiting:
        group = waiting.pop(0)
        answer = _ask({"kind": "ecg", "settings": settings.model_dump(mode="json")}, limits, group)
        if not isinstance(answer, _Stopped):
            done.append(Block(len(group), answer.arrays, _as_refusals(answer.head["refused"])))
        elif len(group) == 1 or answer.file is not None:
            culprit = group.pop(answer.file or 0)
            done.append(Block(1, {}, {culprit.content_hash: (STOPPED, answer.detail)}))
            waiting[:0] = [group] if group else []
        else:  # it died over several at once
            waiting[:0] = [[file] for file in group]
    filled = [block.rows for block in done if block.rows]
    rows = {name: np.concatenate([some[name] for some in filled]) for name in filled[0]} if filled else {}
    return Block(len(files), rows, {key: cause for block in done for key, cause in block.refused.items()})


def decode_clip(settings: TeacherSettings, size: int, limits: Limits, file: SourceFile) -> Attempt:
    """The frames of one file, uint8 (frame, size, size, 3), or a refusal; see `tasks.ingest.blocks.decode_clip`.

    Raises:
        StoreError: the file cannot be read, or has changed since the catalog was made.
        RecipeError: the view filter cannot be loaded.
    """
    request = {"kind": "clip", "settings": settings.model_dump(mode="json"), "size": size, "modules": sys.path}
    answer = _ask(request, limits, [file])
    if isinstance(answer, _Stopped):
        return Attempt(file.content_hash, refusal=(STOPPED, answer.detail))
    if answer.head["refused"]:
        return Attempt(file.content_hash, refusal=_as_refusals(answer.head["refused"])[file.content_hash])
    return Attempt(file.content_hash, answer.arrays["frames"], sector=answer.head["sector"])


def _as_refusals(rows: Sequence[Sequence[str]]) -> dict[str, tuple[str, str]]:
    return {key: (reason, detail) for key, reason, detail in rows}


@dataclass(frozen=True)
class _Stopped:
    """A process that died or reached a limit: the number of the file that it was reading, if it was one, and why."""

    file: int | None
    detail: str


class _Message(NamedTuple):
    """What goes from one process to another: JSON, and arrays of numbers by name."""

    head: dict[str, Any]
    arrays: dict[str, np.ndarray]


def _ask(request: dict[str, Any], limits: Limits, files: Sequence[SourceFile]) -> "_Message | _Stopped":
    """Sends files to a process and waits for what becomes of them. Raises StoreError, RecipeError, UserError."""
    rows = [
        [str(f.path), f.content_hash, f.sha256, f.stated_unit, f.stated_sampling_frequency, f.stated_leads]
        for f in files
    ]
    current, began = None, monotonic()
    with _decoder(request["kind"]) as connection:
        try:
            _send(connection, request | {"files": rows, "limits": limits})
            while (message := _receive(connection)) is not None and "file" in message.head:
                current, began = message.head["file"], monotonic()
        except OSError:
            message = None
        if message is None or message.head.get("stopped"):
            connection.close()
    if message is None:
        is_late = monotonic() - began > _LATE * limits.seconds
        cause = f"over {limits.seconds:g} s (execution.decode_seconds)" if is_late else "its decoder crashed"
        return _Stopped(current, cause)
    if message.head.get("stopped"):
        return _Stopped(current, f"over {limits.megabytes} MB (execution.decode_megabytes)")
    if "fault" in message.head:
        raise _FAULTS.get(message.head["kind"], UserError)(message.head["fault"])
    return message


class _Origin:
    """The process that forks decoders of a kind, and the connections of those that wait for work."""

    def __init__(self, kind: str) -> None:
        self._control, far = socket.socketpair()
        names = (name for name in os.environ if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES))
        kept = {name: os.environ[name] for name in names}
        paths = [str(_ROOT), *(path or os.getcwd() for path in sys.path)]  # noqa: PTH109
        environment = kept | _ONE_THREAD | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
        with far:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", f"from {__name__} import main; main({kind!r})"],
                stdin=far.fileno(), stdout=subprocess.DEVNULL, env=environment,
            )  # fmt: skip
        self._idle: list[socket.socket] = []
        self._lock = Lock()

    def connection(self) -> socket.socket:
        """A decoder that waits for work, or a new one. Raises StoreError if none can be started."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            near, far = socket.socketpair()
            try:
                with far:
                    socket.send_fds(self._control, [b"+"], [far.fileno()])
                if _receive(near) is not None:
                    return near
            except OSError:
                pass
            near.close()
            raise StoreError("the process that decodes files does not start")

    def give_back(self, connection: socket.socket) -> None:
        with self._lock:
            self._idle.append(connection)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        """Ends the process, even while it imports, and the decoders that wait."""
        for connection in (self._control, *self._idle):
            connection.close()
        self._process.kill()
        self._process.wait()


# By process and kind: a process that was forked must not share connections with its parent.
_origins: dict[tuple[int, str], _Origin] = {}
_origins_lock = Lock()


@contextmanager
def _decoder(kind: str) -> Iterator[socket.socket]:
    """The connection of a decoder; one that is closed, or in use when a fault is raised, is not used again."""
    with _origins_lock:
        origin = _origins.get(key := (os.getpid(), kind))
        if origin is None or origin.has_ended():
            if origin is None:
                atexit.register(_end, key)
            _origins[key] = origin = _Origin(kind)
    connection = origin.connection()
    try:
        yield connection
    except BaseException:
        connection.close()
        raise
    if connection.fileno() >= 0:
        origin.give_back(connection)


def _end(key: tuple[int, str]) -> None:
    if key[0] == os.getpid():
        _origins.pop(key).close()


def _send(connection: socket.socket, head: dict[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
    arrays = {name: np.ascontiguousarray(values) for name, values in (arrays or {}).items()}
    listed = [[name, values.dtype.str, values.shape] for name, values in arrays.items()]
    text = json.dumps(head | {"arrays": listed}).encode()
    connection.sendall(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
    for values in arrays.values():
        connection.sendall(values.reshape(-1).view(np.uint8).data)


def _receive(connection: socket.socket) -> _Message | None:
    """The next message; None at the end. Raises OSError where it is none."""
    if (length := _exactly(connection, _LENGTH_BYTES)) is None:
        return None
    size = int.from_bytes(length, "little")
    text = _exactly(connection, size) if size <= _MOST_HEAD_BYTES else None
    if text is None:
        return None
    head, arrays = json.loads(bytes(text)), {}
    for name, kind, shape in head.pop("arrays"):
        if np.dtype(kind).kind not in _NUMERIC_KINDS:
            return None
        values = np.empty(shape, kind)
        if values.size and _fill(connection, values.reshape(-1).view(np.uint8).data) is None:
            return None
        arrays[name] = values
    return _Message(head, arrays)


def _exactly(connection: socket.socket, size: int) -> memoryview | None:
    return _fill(connection, memoryview(bytearray(size)))


def _fill(connection: socket.socket, place: memoryview) -> memoryview | None:
    """Fills a place with what comes; None where it ends before. Raises Stopped once the run is asked to stop."""
    begun, waiting = 0, select.poll()
    waiting.register(connection, select.POLLIN)
    while begun < len(place):
        while not waiting.poll(_STOP_MILLISECONDS):
            check_stop()
        if not (count := connection.recv_into(place[begun:])):
            return None
        begun += count
    return place


def main(kind: str) -> None:
    """Forks a decoder of this kind for every connection that comes through standard input, until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run ends its decoders
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import_module(_IMPORTED[kind])

    control, origin = socket.socket(fileno=0), os.getpid()
    while True:
        asked, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not asked:
            return
        if os.fork() == 0:
            control.close()
            _end_with(origin)
            with suppress(OSError):  # a run that stops does not wait for its answer
                _serve(socket.socket(fileno=descriptors[0]))
            os._exit(0)
        os.close(descriptors[0])


def _end_with(parent: int) -> None:
    """Has the kernel kill this process when its parent ends, so that no file is decoded for a run that is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _serve(connection: socket.socket) -> None:
    """Answers requests until there are no more. A file that takes too long ends the process (SIGALRM)."""
    _send(connection, {"ready": True})
    while (request := _receive(connection)) is not None:
        limits = Limits(*request.head["limits"])

        def begin(number: int | None, seconds: float = limits.seconds) -> None:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            _send(connection, {"file": number})

        _limit_memory(limits.megabytes)
        try:
            answer = _answer(request.head, begin)
        except MemoryError:
            answer = {"stopped": True}, {}
        except UserError as fault:
            answer = {"fault": str(fault), "kind": type(fault).__name__}, {}
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(connection, *answer)


def _limit_memory(megabytes: int) -> None:
    """Sets what this process may take beyond what it has; where a limit of the machine is lower, that one holds."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    held = next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData")), 0)
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def _answer(request: dict[str, Any], begin: Callable[[int | None], None]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Head and arrays of the answer. Raises MemoryError, and UserError for a fault of the run."""
    from tasks.ingest import blocks

    files = [
        SourceFile(Path(path), key, sha256, unit, frequency, None if leads is None else tuple(leads))
        for path, key, sha256, unit, frequency, leads in request["files"]
    ]
    if request["kind"] == "ecg":
        block = blocks.ecg_block(EcgSettings.model_validate(request["settings"]), files, begin)
        return {"refused": [[key, *cause] for key, cause in block.refused.items()]}, block.rows
    sys.path[:] = request["modules"]  # where the recipe's view filter is
    begin(0)
    attempt = blocks.decode_clip(TeacherSettings.model_validate(request["settings"]), request["size"], files[0])
    if attempt.refusal is not None:
        return {"refused": [[attempt.content_hash, *attempt.refusal]]}, {}
    return {"refused": [], "sector": attempt.sector}, {"frames": attempt.value}
