"""Where a pool is kept: a folder of the workspace, or S3. Nothing else in the project opens a repository."""

import shutil
from pathlib import Path

import icechunk

from tasks.base.workspace import S3Place, is_s3


def open_repository(root: Path, place: str, create: bool = False) -> icechunk.Repository:
    """The repository of a pool.

    On S3 the endpoint, where it is not AWS, is AWS_ENDPOINT_URL; region and credentials come from the
    environment too (AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, or whatever else the AWS chain
    finds), never from a recipe.

    Args:
        root: of the workspace.
        place: `s3://bucket/prefix`, or a path relative to the root.
        create: make an empty one if there is none.

    Raises:
        IcechunkError: there is none, or S3 does not let us in.
        StoreError: no address on S3.
    """
    storage = _s3(place) if is_s3(place) else _on_disk(root / place)
    if not create:
        return icechunk.Repository.open(storage)
    if not is_s3(place):
        _clear_half_made(root / place, storage)
    try:
        return icechunk.Repository.open_or_create(storage)
    except icechunk.IcechunkError:
        return icechunk.Repository.open(storage)  # another writer may have made it in the same moment


def is_made(root: Path, place: str) -> bool:
    """Whether a repository stands at a place of this disk: a run killed while it made one leaves less."""
    return bool(icechunk.Repository.exists(_on_disk(root / place)))


def _clear_half_made(folder: Path, storage: icechunk.Storage) -> None:
    """Icechunk neither opens nor replaces a first snapshot that no branch names yet; it holds nothing."""
    if folder.is_dir() and not (folder / "chunks").exists() and not icechunk.Repository.exists(storage):
        shutil.rmtree(folder)


def _on_disk(folder: Path) -> icechunk.Storage:
    icechunk.set_logs_filter("error")  # its warning about concurrent committers is answered by our lock
    return icechunk.local_filesystem_storage(str(folder))


def _s3(address: str) -> icechunk.Storage:
    place = S3Place.of(address)
    return icechunk.s3_storage(
        bucket=place.bucket,
        prefix=place.prefix,
        endpoint_url=place.endpoint,
        region=place.region,
        allow_http=place.allow_http,
        force_path_style=place.path_style,
        from_env=True,
    )
