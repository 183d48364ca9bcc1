"""Where things are kept: the folders of a workspace, and objects on S3. No other file builds these paths.

The S3 client is not imported before the first request: a workspace that shares nothing does not load it.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts.conventions import Stage
from echoingecg.common import StoreError

if TYPE_CHECKING:
    from obstore.store import S3Store

CHECK_S3 = "check AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and that the bucket is there"

_DISK_FAULTS = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: check its owner, or choose another folder",
    errno.EPERM: "not permitted: check its owner, or choose another folder",
    errno.ENOTDIR: "a file stands where a folder is needed: choose another folder",
}
_S3 = "s3://"
_REQUEST_BYTES = 16 << 20
_REQUESTS_PER_UPLOAD = 4  # at the same time
_REQUEST_TIMEOUT = timedelta(minutes=2)  # four uploads at a time need 0.5 MB/s
_REQUEST_RETRIES = 5  # within a few seconds; the operator must mend a longer fault


@dataclass(frozen=True)
class Workspace:
    """A folder that holds everything the pipeline makes.

    Attributes:
        root: absolute path.
    """

    root: Path

    @property
    def artefacts(self) -> Path:
        """Published versions, `<stage>/<version>/`."""
        return self.root / "artefacts"

    @property
    def shared_store(self) -> Path:
        """File that names the store on S3 that this workspace has joined; absent where there is none."""
        return self.root / "shared_store"

    @property
    def shared_manifests(self) -> Path:
        """Copies of manifests of that store, so that a listing asks for new ones alone."""
        return self.artefacts / ".shared"

    @property
    def pools(self) -> Path:
        """Icechunk repositories, `<stage>/<pool>/`."""
        return self.root / "pools"

    @property
    def private(self) -> Path:
        """Pseudonym key and file indexes, which must not leave the hospital. Mode 0700."""
        return self.root / "private"

    @property
    def decisions(self) -> Path:
        """Decisions between students, a JSON file each."""
        return self.root / "decisions"

    @property
    def alias_moves(self) -> Path:
        """Every move of an alias, a line each."""
        return self.root / "alias_moves.jsonl"

    @property
    def drift(self) -> Path:
        """Verdicts on new exports, a folder each."""
        return self.root / "drift"

    @property
    def exports(self) -> Path:
        """Simulated exports."""
        return self.root / "exports"

    @property
    def tracking(self) -> Path:
        """Runs of experiment trackers that have no server."""
        return self.root / "tracking"

    def scratch(self, stage: Stage, version: str) -> Path:
        """Checkpoints and other temporary files of one version that is not published yet."""
        return self.root / "scratch" / stage / version


@contextmanager
def writing_to(root: Path) -> Iterator[None]:
    """Turns a full disk, a read-only or a forbidden folder into one line that says how to mend it.

    Raises:
        StoreError: instead of the OSError. Other OSErrors pass.
    """
    try:
        yield
    except OSError as fault:
        message = _DISK_FAULTS.get(fault.errno or 0)
        if message is None:
            raise
        raise StoreError(f"{root}: {message}") from fault


def check_access(root: Path) -> None:
    """Raises StoreError, in one line, if a folder is there and this user may not look into it."""
    with writing_to(root):
        if root.is_dir():
            with os.scandir(root) as entries:
                next(entries, None)


def is_s3(place: str) -> bool:
    """Whether a place is on S3, where writers of several machines may meet and file locks do not work."""
    return place.startswith(_S3)


def s3_address(address: str) -> tuple[str, str, str]:
    """(bucket, prefix, endpoint) of `s3://bucket/prefix`. Both S3 clients read AWS_* variables, the endpoint's too.

    Raises:
        StoreError: not such an address, or AWS_ENDPOINT_URL holds none: a client would end the process.
    """
    bucket, _, prefix = address.removeprefix(_S3).partition("/")
    if not is_s3(address) or not bucket:
        raise StoreError(f"'{address}' is no address on S3: write s3://BUCKET/PREFIX")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        raise StoreError(f"AWS_ENDPOINT_URL: '{endpoint}' is no address: write http://HOST:PORT or https://HOST")
    return bucket, prefix.strip("/"), endpoint


@dataclass(frozen=True)
class S3Object:
    """An object as a listing shows it.

    Attributes:
        key: below the address.
        size: bytes.
        changed: by the storage's clock.
        tag: differs when the content differs.
    """

    key: str
    size: int
    changed: datetime
    tag: str


class Bucket:
    """The objects under an address. Whatever S3 refuses is a StoreError of one line.

    Args:
        address: `s3://bucket/prefix`.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    @cached_property
    def _store(self) -> "S3Store":
        from obstore.store import S3Store

        s3_address(self.address)
        with self._one_line():
            return S3Store.from_url(
                self.address,
                client_options={"allow_http": True, "connect_timeout": "10s", "timeout": _REQUEST_TIMEOUT},
                retry_config={"max_retries": _REQUEST_RETRIES, "retry_timeout": timedelta(minutes=1)},
            )

    def read(self, key: str) -> bytes | None:
        """A small object's bytes; None where there is no such object."""
        import obstore

        store = self._store
        with self._one_line():
            try:
                return bytes(obstore.get(store, key).bytes())
            except FileNotFoundError as fault:
                if "<Code>NoSuchBucket<" in str(fault):
                    raise
                return None

    def blocks(self, key: str, size: int) -> Iterator[bytes]:
        """Yields an object of that size block by block. Each block is a request of its own, with its own retries.

        A shorter object, or one that is gone, ends early without an error: compare with a checksum.
        """
        import obstore
        from obstore.exceptions import BaseError

        store = self._store
        for start in range(0, size, _REQUEST_BYTES):
            with self._one_line():
                try:
                    block = bytes(obstore.get_range(store, key, start=start, end=min(size, start + _REQUEST_BYTES)))
                except (FileNotFoundError, BaseError) as fault:
                    if "<Code>NoSuchKey<" in str(fault) or "<Code>InvalidRange<" in str(fault):
                        return
                    raise
            yield block

    def write(self, key: str, content: bytes | Path) -> None:
        """Puts bytes or a file, whole or not at all, in place of whatever was there."""
        import obstore

        store = self._store
        with self._one_line():
            obstore.put(store, key, content, chunk_size=_REQUEST_BYTES, max_concurrency=_REQUESTS_PER_UPLOAD)

    def write_new(self, key: str, content: bytes) -> bool:
        """Puts a small object where there is none (If-None-Match: *); returns whether there was none.

        A request is sent again when its answer is lost. False may therefore mean this very content: compare.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        store = self._store
        with self._one_line():
            try:
                obstore.put(store, key, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def listed(self, under: str) -> Iterator[S3Object]:
        """Yields all objects below `under/`; a request lists a thousand."""
        import obstore

        store = self._store
        with self._one_line():
            for page in obstore.list(store, f"{under}/", chunk_size=1000):
                for entry in page:
                    yield S3Object(entry["path"], entry["size"], entry["last_modified"], entry["e_tag"] or "")

    def delete(self, keys: list[str]) -> None:
        """Removes objects; objects that are gone already are no fault."""
        import obstore

        store = self._store
        with self._one_line():
            obstore.delete(store, keys)

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, PermissionError, ValueError) as fault:
            if isinstance(fault, StoreError):
                raise
            raise StoreError(f"{self.address}: {cause_of(fault)}; {CHECK_S3}") from fault


def cause_of(fault: Exception) -> str:
    """One line out of a report of obstore or Icechunk: what S3 answered, or else the deepest cause that is named."""
    report = str(fault)
    code, message = (re.search(rf"<{name}>([^<]*)</{name}>", report) for name in ("Code", "Message"))
    if code:
        return f"{code[1]}: {message[1]}" if message else code[1]
    if chain := re.findall(r"-> (.*[A-Za-z].*)", report):  # Icechunk's causes, the deepest last
        return " ".join(chain[-1].split())
    summary = " ".join(report.split("\n\nDebug source", maxsplit=1)[0].split()) or "unknown fault"
    deepest = re.findall(r'(?:message|error): "([^"]+)"', report)
    return f"{summary.rsplit(' - ', 1)[-1]}{f' ({deepest[-1]})' if deepest else ''}"
