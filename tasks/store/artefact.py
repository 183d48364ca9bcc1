"""What a version is: the plan that it follows from, its manifest, its files. Where it is kept is the store's part.

Why two versions of a stage differ, read from their manifests.
"""

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_contracts.conventions import Stage
from data_contracts.manifest import FILENAME, Checksum, Manifest, PoolSnapshot
from echoingecg.common import StoreError, canonical_json, fingerprint, flush_to_disk, hash_files

PACKAGES = ("echoingecg", "numpy", "scipy", "torch", "open_clip_torch", "zarr", "icechunk", "scikit-learn",
                   "opencv-python-headless", "pydicom", "wfdb", "pyarrow")  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Everything that a version depends on, and nothing else."""

    stage: Stage
    contract_version: int
    code_version: int
    recipe: dict[str, Any]
    source: dict[str, str]
    inputs: dict[Stage, str]

    @property
    def version(self) -> str:
        return fingerprint(asdict(self))


@dataclass(frozen=True)
class Built:
    """What a stage says of the artefact it has just written."""

    counts: dict[str, int]
    pool: PoolSnapshot | None = None
    new_keys: int | None = None


@dataclass(frozen=True)
class Artefact:
    """One published version.

    Attributes:
        folder: its files; of one that only the shared store holds, where `ArtefactStore.find` will put them.
        manifest: what it is.
    """

    folder: Path
    manifest: Manifest

    @property
    def stage(self) -> Stage:
        return self.manifest.stage

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def is_here(self) -> bool:
        """Whether its files are on this disk."""
        return (self.folder / FILENAME).is_file()

    def __str__(self) -> str:
        return f"{self.stage}-{self.version}"

    def faults(self) -> list[str]:
        """What differs between the files on disk and the manifest; empty when sound."""
        found = []
        for name, expected in self.manifest.files.items():
            path = self.folder / name
            if not path.is_file():
                found.append(f"{self}: {name} is missing")
            elif checksum(path) != expected:
                found.append(f"{self}: {name} has changed")
        return found


Inputs = Mapping[Stage, Artefact]  # what a stage is made of


def read_manifest(text: bytes, stage: Stage, version: str, mend: str) -> Manifest:
    """The manifest of a version.

    Args:
        text: of the manifest's file.
        stage: of the version.
        version: its name.
        mend: what to do when it cannot be read.

    Raises:
        StoreError: it cannot be read, or was written by a newer release.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as fault:
        field = ".".join(str(part) for part in fault.errors()[0]["loc"])
        raise StoreError(
            f"artefact {stage}-{version}: {FILENAME} is damaged or of another release (field '{field}'); {mend}"
        ) from fault


def complete(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest beside its files, after they are on the disk: what is left is to rename the folder."""
    for name in manifest.files:
        flush_to_disk(folder / name)
    path = folder / FILENAME
    path.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    flush_to_disk(path)
    for name in manifest.files:  # one mode for all: safetensors writes files that their owner alone can read
        (folder / name).chmod(path.stat().st_mode)
    folder.chmod(0o755)  # mkdtemp gives 0700


def content_of(files: Mapping[str, Checksum]) -> str:
    """One digest over all files: equal when two copies hold the same bytes."""
    return hashlib.sha256(canonical_json({name: one.sha256 for name, one in files.items()}).encode()).hexdigest()


def checksum(path: Path) -> Checksum:
    """Size and SHA-256 of a file."""
    return Checksum(bytes=path.stat().st_size, sha256=hash_files([path]))


def packages() -> dict[str, str]:
    """Versions of the packages that shape results."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = package_version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def processor() -> dict[str, str]:
    """What this machine computes with: architecture, CPU, instruction set that torch uses, and the GPU if any."""
    import torch  # slow to import, and artefacts are listed without it

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    found = {
        "machine": platform.machine(),
        "cpu": next(iter(models), "") or platform.processor() or "unknown",
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
    }
    return found | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def differences(one: Manifest, other: Manifest) -> list[str]:
    """Lines such as `recipe.epochs: 5 -> 10`; empty when the artefacts are equal."""
    found = []
    for name in ("stage", "contract_version", "code_version", "recipe", "source", "inputs", "counts"):
        found += _compare(name, getattr(one, name), getattr(other, name))
    files = {name: file.sha256[:12] for name, file in one.files.items()}
    return found + _compare("files", files, {name: file.sha256[:12] for name, file in other.files.items()})


def _compare(where: str, one: Any, other: Any) -> list[str]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return [
            line
            for key in sorted({*one, *other})
            for line in _compare(f"{where}.{key}", one.get(key, "absent"), other.get(key, "absent"))
        ]
    return [] if one == other else [f"{where}: {one} -> {other}"]
