"""What a version is: the plan that it follows from, its manifest and its files; and why two versions differ."""

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_contracts import evaluation, student
from data_contracts.conventions import Stage
from data_contracts.manifest import FILENAME, Manifest, PoolSnapshot, Run, checksum_of, content_of
from echoingecg.common import StoreError, UserError, fingerprint, flush_folder

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
    """What a stage reports about the artefact it has just written.

    Attributes:
        counts: of records, patients and so on, for people.
        pool: snapshot of the pool that holds the artefact's arrays, for a stage that has one.
        new_keys: files that this run processed, for a stage that reuses the results of earlier runs.
    """

    counts: dict[str, int]
    pool: PoolSnapshot | None = None
    new_keys: int | None = None


@dataclass(frozen=True)
class Artefact:
    """One published version.

    Attributes:
        folder: holds its files. Where only the shared store has them, `ArtefactStore.find` will put them here.
        manifest: what it is made of, and the checksum of every file.
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

    def loss(self) -> str:
        """The first file that is missing or has another size, on one line; empty where there is none. Reads none."""
        for name, expected in self.manifest.files.items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size != expected.bytes:
                return f"{self}: {name} {'is cut short or has grown' if path.is_file() else 'is missing'}"
        return ""

    def faults(self) -> list[str]:
        """What differs between the files on disk and the manifest; empty when sound."""
        lines = []
        for name, expected in self.manifest.files.items():
            path = self.folder / name
            try:
                if checksum_of(path) != expected:
                    lines.append(f"{self}: {name} has changed")
            except (FileNotFoundError, NotADirectoryError):
                lines.append(f"{self}: {name} is missing")
            except OSError as fault:
                lines.append(f"{self}: {name} cannot be read: {fault.strerror}")
        return lines


Inputs = Mapping[Stage, Artefact]  # the artefacts that a stage reads


def results_of(artefact: Artefact) -> dict[str, str]:
    """What a student or an evaluation has reached, read from its tables: name -> value, empty for other stages.

    A student has the validation losses of its best epoch, an evaluation the AUROC of each endpoint by the protocol that
    answers. Artefacts whose files are elsewhere, damaged or of another release's tables have none.
    """
    try:
        if artefact.is_here and artefact.stage == "student":
            return _losses(artefact)
        if artefact.is_here and artefact.stage == "evaluation":
            return _discrimination(artefact)
    except (UserError, OSError, KeyError):
        pass
    return {}


def _losses(artefact: Artefact) -> dict[str, str]:
    rows = student.HISTORY.read(artefact.folder).to_pylist()
    best = [row for row in rows if row["best"]][-1]
    losses = {name.removeprefix("validation_loss_"): value for name, value in best.items() if "validation_loss" in name}
    shown = {f"validation loss {kind}": f"{value:.4g}" for kind, value in losses.items() if value is not None}
    return {"best epoch": f"{best['epoch']} of {rows[-1]['epoch']}", **shown}


def _discrimination(artefact: Artefact) -> dict[str, str]:
    table = evaluation.METRICS.read(artefact.folder)
    protocol = artefact.manifest.recipe.get("answer_by", "zero_shot")
    rows = [row for row in table.to_pylist() if (row["group"], row["metric"]) == ("all", "auroc")]
    return {
        f"AUROC {row['endpoint']}": f"{row['value']:.3f}{_interval(row['low'], row['high'])}, {protocol}"
        for row in rows
        if row["protocol"] == protocol and row["value"] is not None
    }


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"


def read_manifest(text: bytes, stage: Stage, version: str, mend: str) -> Manifest:
    """The manifest of a version.

    Args:
        text: content of the manifest's file.
        stage: of the version.
        version: 16 hexadecimal digits.
        mend: what to do when the manifest cannot be read, for the error.

    Raises:
        StoreError: it cannot be read, is that of another version, or was written by a newer release.
    """
    try:
        manifest = Manifest.from_json(text)
    except ValidationError as fault:
        why = f"field '{'.'.join(str(part) for part in fault.errors()[0]['loc'])}'"
    except ValueError as fault:
        why = str(fault)
    else:
        if (manifest.stage, manifest.version) == (stage, version):
            return manifest
        why = f"it is that of {manifest.stage}-{manifest.version}"
    raise StoreError(f"artefact {stage}-{version}: {FILENAME} is damaged or of another release ({why}); {mend}")


def manifest_of(plan: Plan, folder: Path, built: Built, finished: str, seconds: float) -> Manifest:
    """The manifest of a version that is built.

    Args:
        plan: what the version depends on.
        folder: holds the artefact's files and nothing else.
        built: counts and pool.
        finished: time of the build, ISO 8601.
        seconds: duration of the build.
    """
    files = {str(path.relative_to(folder)): checksum_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    run = Run(
        finished=finished,
        seconds=round(seconds, 3),
        packages=_packages(),
        processor=_processor(),
        pool=built.pool,
        new_keys=built.new_keys,
    )
    causes, content = asdict(plan), content_of(files)
    return Manifest(**causes, version=plan.version, counts=built.counts, files=files, content=content, run=run).sealed()


def complete(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest beside the files and flushes all to the disk. Then the folder can be renamed."""
    path = folder / FILENAME
    path.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for name in manifest.files:  # one mode for all: safetensors writes files that their owner alone can read
        (folder / name).chmod(path.stat().st_mode)
    folder.chmod(folder.parent.stat().st_mode & 0o755)  # mkdtemp gives 0700
    flush_folder(folder)


def _packages() -> dict[str, str]:
    """Versions of the packages that shape results."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = package_version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return versions


def _processor() -> dict[str, str]:
    """What this machine computes with: architecture, CPU, instruction set that torch uses, and the GPU if any."""
    import torch  # slow to import, and artefacts are listed without it

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    parts = {
        "machine": platform.machine(),
        "cpu": next(iter(models), "") or platform.processor() or "unknown",
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
    }
    return parts | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def differences(old: Manifest, new: Manifest) -> list[str]:
    """Lines such as `recipe.epochs: 5 -> 10`; empty when the artefacts are equal."""
    lines = []
    for name in ("stage", "contract_version", "code_version", "recipe", "source", "inputs", "counts"):
        lines += _compare(name, getattr(old, name), getattr(new, name))
    files = ({name: file.sha256[:12] for name, file in manifest.files.items()} for manifest in (old, new))
    return lines + _compare("files", *files)


def _compare(field: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            line
            for key in sorted({*old, *new})
            for line in _compare(f"{field}.{key}", old.get(key, "absent"), new.get(key, "absent"))
        ]
    return [] if old == new else [f"{field}: {old} -> {new}"]
