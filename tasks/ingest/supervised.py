"""Decodes files in processes of their own, with limits of time and memory a file: no file can stop or alter a run.

One process imports the decoders, once, and forks the others. A process that dies or overruns costs the one file that it
was reading, which becomes a refusal; another process goes on with the rest. None of them gets the environment, where
keys and credentials may be. What comes back is JSON and plain numbers, never objects of Python: a decoder that a file
has taken over must not reach the run.
"""

import atexit
import ctypes
import fcntl
import json
import mmap
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from data_contracts.quarantine import STOPPED
from echoingecg.common import RecipeError, StoreError, UserError, one_blas_thread
from echoingecg.common.running import check_stop
from echoingecg.recipe import EcgSettings, ExecutionSettings, TeacherSettings
from tasks.ingest import blocks
from tasks.ingest.blocks import Attempt, Block, SourceFile

_PR_SET_PDEATHSIG = 1  # of prctl(2)
_LENGTH_BYTES = 8  # of a message's head
_MOST_HEAD_BYTES = 1 << 26
_STOP_MILLISECONDS = 300  # until a wait for a decoder notices that the run is to stop
_NUMERIC_KINDS = "fiub"
_IMPORTED = {"ecg": "echoingecg.ecg.process", "clip": "echoingecg.teacher.frames"}  # by kind: what decoders import
_PLACE = struct.Struct("qd")
_FAULTS = {"StoreError": StoreError, "RecipeError": RecipeError}
# Settings of arithmetic, by how their names begin: with another kernel of OpenBLAS a signal's last bits are others.
_KEPT_PREFIXES = ("OPENBLAS_", "MKL_", "OMP_", "GOTO_", "NPY_", "BLIS_", "DNNL_", "ONEDNN_", "ATEN_", "KMP_")
_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "LD_LIBRARY_PATH")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_ROOT = Path(__file__).resolve().parents[2]


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
    rows = {name: [some[name] for some in filled] for name in filled[0]} if filled else {}
    whole = {name: parts[0] if len(parts) == 1 else np.concatenate(parts) for name, parts in rows.items()}
    return Block(len(files), whole, {key: cause for block in done for key, cause in block.refused.items()})


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
    with _decoder(request["kind"]) as decoder:
        try:
            _begin(decoder.place, None)
            _send(decoder.connection, request | {"files": rows, "limits": limits})
            message = _receive(decoder.connection)
        except OSError:
            message = None
        number, began = _PLACE.unpack_from(decoder.place)
        if message is None or message.head.get("stopped"):
            decoder.close()
    current = number if 0 <= number < len(files) else None
    if message is None:
        is_late = monotonic() - began >= limits.seconds
        detail = f"over {limits.seconds:g} s (execution.decode_seconds)" if is_late else "its decoder crashed"
        return _Stopped(current, detail)
    if message.head.get("stopped"):
        return _Stopped(current, f"over {limits.megabytes} MB (execution.decode_megabytes)")
    if "fault" in message.head:
        raise _FAULTS.get(message.head["kind"], UserError)(message.head["fault"])
    return message


class _Decoder(NamedTuple):
    """The run's side of a process that decodes.

    Attributes:
        connection: for requests and answers.
        place: memory that both share: the number of the file that is being read, -1 for none, and since when by
            `monotonic`, which is one clock for the machine. A message a file would wake the run too often.
    """

    connection: socket.socket
    place: mmap.mmap

    def close(self) -> None:
        self.connection.close()
        self.place.close()


def _begin(place: mmap.mmap, number: int | None) -> None:
    _PLACE.pack_into(place, 0, -1 if number is None else number, monotonic())


class _Origin:
    """The process that forks decoders of a kind, and those decoders that wait for work."""

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
        self._idle: list[_Decoder] = []
        self._lock = Lock()

    def decoder(self) -> _Decoder:
        """One that waits for work, or a new one. Raises StoreError if none can be started."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
            near, far = socket.socketpair()
            descriptor = os.memfd_create("place", os.MFD_ALLOW_SEALING)
            os.ftruncate(descriptor, _PLACE.size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
            decoder = _Decoder(near, mmap.mmap(descriptor, _PLACE.size))
            try:
                with far:
                    socket.send_fds(self._control, [b"+"], [far.fileno(), descriptor])
                if _receive(near) is not None:
                    return decoder
            except OSError:
                pass
            finally:
                os.close(descriptor)
            decoder.close()
            raise StoreError("the process that decodes files does not start")

    def give_back(self, decoder: _Decoder) -> None:
        with self._lock:
            self._idle.append(decoder)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        """Ends the process, even while it imports, and the decoders that wait."""
        self._control.close()
        for decoder in self._idle:
            decoder.close()
        self._process.kill()
        self._process.wait()


# By process and kind: a process that was forked must not share connections with its parent.
_origins: dict[tuple[int, str], _Origin] = {}
_origins_lock = Lock()


def prepare(kind: str) -> None:
    """Starts the process that forks decoders of this kind: it imports them while the caller does something else."""
    _origin(kind)


def _origin(kind: str) -> _Origin:
    with _origins_lock:
        origin = _origins.get(key := (os.getpid(), kind))
        if origin is None or origin.has_ended():
            if origin is None:
                atexit.register(_end, key)
            _origins[key] = origin = _Origin(kind)
        return origin


@contextmanager
def _decoder(kind: str) -> Iterator[_Decoder]:
    """A decoder; one that is closed, or in use when a fault is raised, is not used again."""
    origin = _origin(kind)
    decoder = origin.decoder()
    try:
        yield decoder
    except BaseException:
        decoder.close()
        raise
    if decoder.connection.fileno() >= 0:
        origin.give_back(decoder)


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
    if (length := _fill(connection, memoryview(bytearray(_LENGTH_BYTES)))) is None:
        return None
    size = int.from_bytes(length, "little")
    text = _fill(connection, memoryview(bytearray(size))) if size <= _MOST_HEAD_BYTES else None
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
        asked, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not asked:
            return
        if os.fork() == 0:
            control.close()
            _end_with(origin)
            with suppress(OSError):  # a run that stops does not wait for its answer
                _serve(socket.socket(fileno=descriptors[0]), mmap.mmap(descriptors[1], _PLACE.size))
            os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)


def _end_with(parent: int) -> None:
    """Has the kernel kill this process when its parent ends, so that no file is decoded for a run that is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


@one_blas_thread()
def _serve(connection: socket.socket, place: mmap.mmap) -> None:
    """Answers requests until there are no more. A file that takes too long ends the process (SIGALRM)."""
    _send(connection, {"ready": True})
    while (request := _receive(connection)) is not None:
        limits = Limits(*request.head["limits"])

        def begin(number: int | None, seconds: float = limits.seconds) -> None:
            _begin(place, number)
            signal.setitimer(signal.ITIMER_REAL, seconds)

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
