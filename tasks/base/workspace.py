"""S3 as pools and artefacts reach it: an address, what the environment says of it, and its objects.

Nothing here imports the client before the first request: a workspace that shares nothing does not load it.

Where a workspace keeps things. Nothing else in the project builds these paths.
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
from typing import TYPE_CHECKING, Any

from data_contracts.conventions import Stage
from echoingecg.common import StoreError

if TYPE_CHECKING:
    from obstore.store import S3Store

_ENVIRONMENT_FAULTS = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: check its owner, or choose another folder",
    errno.EPERM: "not permitted: check its owner, or choose another folder",
    errno.ENOTDIR: "a file stands where a folder is needed: choose another folder",
}


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
        """Names the store on S3 that this workspace has joined; absent where it stands alone."""
        return self.root / "shared_store"

    @property
    def shared_manifests(self) -> Path:
        """Manifests seen in that store, so that a listing asks for new ones alone."""
        return self.artefacts / ".shared"

    @property
    def pools(self) -> Path:
        """Icechunk repositories, `<stage>/<pool>/`."""
        return self.root / "pools"

    @property
    def private(self) -> Path:
        """Pseudonym key and file indexes: what must not leave the hospital. Mode 0700."""
        return self.root / "private"

    @property
    def decisions(self) -> Path:
        """Decisions between students, a JSON file each."""
        return self.root / "decisions"

    @property
    def drift(self) -> Path:
        """Verdicts on new exports, a folder each."""
        return self.root / "drift"

    @property
    def exports(self) -> Path:
        """Simulated exports."""
        return self.root / "exports"

    def scratch(self, stage: Stage, version: str) -> Path:
        """Checkpoints and leftovers of one version that is not published yet."""
        return self.root / "scratch" / stage / version


@contextmanager
def writing_to(root: Path) -> Iterator[None]:
    """Turns a full disk, a read-only or a forbidden folder into one line that says what to mend.

    Raises:
        StoreError: instead of the OSError. Other OSErrors pass.
    """
    try:
        yield
    except OSError as fault:
        says = _ENVIRONMENT_FAULTS.get(fault.errno or 0)
        if says is None:
            raise
        raise StoreError(f"{root}: {says}") from fault


CHECK = "check AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and that the bucket is there"
_S3 = "s3://"
_BLOCK = 16 << 20  # bytes of one request
_AT_ONCE = 4  # requests of one large upload
_REQUEST = timedelta(minutes=2)  # for one block: 0.5 MB/s and less are given up
_RETRIES = 5  # within a few seconds; a longer fault is the operator's


def is_s3(place: str) -> bool:
    """Whether a place is on S3, where writers of several machines may meet and no lock of ours reaches."""
    return place.startswith(_S3)


@dataclass(frozen=True)
class S3Place:
    """An address, and how this machine reaches it.

    Attributes:
        bucket: its name.
        prefix: of every key; may be empty.
        endpoint: AWS_ENDPOINT_URL, where it is not AWS.
        region: AWS_REGION.
    """

    bucket: str
    prefix: str
    endpoint: str | None
    region: str | None

    @classmethod
    def of(cls, address: str) -> "S3Place":
        """Endpoint and region come from the environment, as credentials do; never from a recipe.

        Raises:
            StoreError: no `s3://bucket/prefix`, or an endpoint that is no address.
        """
        bucket, _, prefix = address.removeprefix(_S3).partition("/")
        if not is_s3(address) or not bucket:
            raise StoreError(f"'{address}' is no address on S3: write s3://BUCKET/PREFIX")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
        if endpoint and not re.match(r"https?://[^/]", endpoint):
            raise StoreError(f"AWS_ENDPOINT_URL: '{endpoint}' is no address: write http://HOST:PORT or https://HOST")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None
        return cls(bucket, prefix.strip("/"), endpoint, region)

    @property
    def allow_http(self) -> bool:
        """Whether the endpoint says that it does without TLS."""
        return (self.endpoint or "").startswith("http://")

    @property
    def path_style(self) -> bool:
        """Whether the bucket stands in the path: bucket.localhost is no host."""
        return self.endpoint is not None


@dataclass(frozen=True)
class Listed:
    """An object as a listing shows it.

    Attributes:
        key: below the address.
        size: bytes.
        changed: by the storage's clock.
        tag: another one when the content is another.
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

        place = S3Place.of(self.address)
        known: dict[str, Any] = {"endpoint": place.endpoint, "region": place.region, "prefix": place.prefix}
        if place.path_style:
            known["virtual_hosted_style_request"] = False
        with self._told():
            return S3Store(
                place.bucket,
                **{name: value for name, value in known.items() if value not in (None, "")},
                client_options={"allow_http": place.allow_http, "connect_timeout": "10s", "timeout": _REQUEST},
                retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(minutes=1)},
            )

    def read(self, key: str) -> bytes | None:
        """A small object's bytes; None where there is none."""
        import obstore

        store = self._store
        with self._told():
            try:
                return bytes(obstore.get(store, key).bytes())
            except FileNotFoundError as fault:
                if "<Code>NoSuchBucket<" in str(fault):
                    raise
                return None

    def blocks(self, key: str, size: int) -> Iterator[bytes]:
        """An object of that size, block by block: each is a request of its own, and tried again by itself.

        Of one that is shorter, or gone, there is less: hold what comes against a checksum.
        """
        import obstore
        from obstore.exceptions import BaseError

        store = self._store
        for start in range(0, size, _BLOCK):
            with self._told():
                try:
                    block = bytes(obstore.get_range(store, key, start=start, end=min(size, start + _BLOCK)))
                except (FileNotFoundError, BaseError) as fault:
                    if "<Code>NoSuchKey<" in str(fault) or "<Code>InvalidRange<" in str(fault):
                        return
                    raise
            yield block

    def write(self, key: str, content: bytes | Path) -> None:
        """Puts an object, or a file, whole or not at all, over whatever was there."""
        import obstore

        store = self._store
        with self._told():
            obstore.put(store, key, content, chunk_size=_BLOCK, max_concurrency=_AT_ONCE)

    def write_new(self, key: str, content: bytes) -> bool:
        """Puts a small object where there is none (If-None-Match: *); whether it was the first.

        After a lost answer a request is sent again, so False may mean this very content: compare.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        store = self._store
        with self._told():
            try:
                obstore.put(store, key, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def listed(self, under: str) -> Iterator[Listed]:
        """All objects below `under/`, a request for a thousand."""
        import obstore

        store = self._store
        with self._told():
            for page in obstore.list(store, f"{under}/", chunk_size=1000):
                for one in page:
                    yield Listed(one["path"], one["size"], one["last_modified"], one["e_tag"] or "")

    def delete(self, keys: list[str]) -> None:
        """Removes objects; those that are gone already are no fault."""
        import obstore

        store = self._store
        with self._told():
            obstore.delete(store, keys)

    @contextmanager
    def _told(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError, PermissionError, ValueError) as fault:
            if isinstance(fault, StoreError):
                raise
            raise StoreError(f"{self.address}: {_cause(str(fault))}; {CHECK}") from fault


def _cause(report: str) -> str:
    """What S3 says in its answer, or what kept the request from it, of the client's report of many lines."""
    code, message = (re.search(rf"<{name}>([^<]*)</{name}>", report) for name in ("Code", "Message"))
    if code:
        return f"{code[1]}: {message[1]}" if message else code[1]
    says = " ".join(report.split("\n\nDebug source", maxsplit=1)[0].split())
    deepest = re.findall(r'(?:message|error): "([^"]+)"', report)
    return f"{says.rsplit(' - ', 1)[-1]}{f' ({deepest[-1]})' if deepest else ''}"
