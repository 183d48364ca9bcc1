"""Finds a trained student's files: by folder, by name in a workspace, as released weights, or on Hugging Face.

Reads a workspace's small files itself, so that it needs neither `tasks` nor `flows`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_contracts import conventions, manifest, prediction, student
from echoingecg import ecg
from echoingecg.common import ContractError, StoreError, UserError
from echoingecg.recipe import EcgSettings

if TYPE_CHECKING:
    from echoingecg.student.inference import LoadedStudent

_HUB = "hf-hub:"
_HUB_FILES = ["*.safetensors", "*.json", "vocab.txt"]  # nothing that could hold a pickle
_RELEASED_WEIGHTS = ("echoingecg.safetensors", "echoingecg.pt")
_RELEASED_SCALERS = ("ecg_scaler.json", "ecg_scaler.pkl")
_RELEASED_TEXT = "dmis-lab/biobert-v1.1"  # text model of the published weights


def find_student(name: str, workspace: Path | None) -> tuple[Path, Path | None]:
    """A student's folder or weights file, and the evaluation's folder if the name is that of an evaluation."""
    if name.startswith(_HUB):
        return _fetched(name.removeprefix(_HUB)), None
    folder = workspace and find_artefact(workspace, name)
    if workspace and folder:
        if folder.parent.name == "student":
            return folder, None
        made_of = manifest.manifest_in(folder)
        if folder.parent.name != "evaluation" or made_of is None:
            raise StoreError(f"'{name}' is neither a student nor an evaluation")
        return workspace / "artefacts" / "student" / made_of.inputs["student"], folder
    path = Path(name).expanduser()
    if not path.exists():
        raise StoreError(
            f"no student '{name}': give its folder, a weights file, hf-hub:OWNER/NAME, or a name and the workspace"
        )
    if workspace_of(path) and manifest.manifest_in(path) is None:
        raise StoreError(f"{path} has no {manifest.FILENAME}, so it is not published: {manifest.mend_of(path)}")
    return path, None


def find_artefact(workspace: Path, name: str) -> Path | None:
    """The folder of a published artefact, by alias or STAGE-VERSION; None for a name that can be neither."""
    if Path(name).name != name:
        return None
    alias = workspace / "artefacts" / "aliases" / name
    if alias.is_file():
        if (workspace / "shared_store").exists():
            raise StoreError(
                f"alias '{name}': this workspace shares its aliases with others; give STAGE-VERSION, as "
                "'echoingecg artefacts list' shows it"
            )
        name = alias.read_text(encoding="utf-8").strip()
    stage, _, version = name.partition("-")
    if stage not in conventions.STAGES or not version.isalnum():
        return None
    folders = [path.parent for path in (workspace / "artefacts" / stage).glob(f"{version}*/{manifest.FILENAME}")]
    if len(folders) != 1:
        raise StoreError(f"{len(folders) or 'no'} artefacts named '{name}' in {workspace}")
    return folders[0]


def workspace_of(folder: Path) -> Path | None:
    """The workspace that a student's folder lies in; None for a folder elsewhere."""
    folder = folder.resolve()
    return folder.parents[2] if folder.parts[-3:-1] == ("artefacts", "student") else None


def newest_evaluation(workspace: Path, student_version: str) -> Path | None:
    """The folder of the student's newest evaluation that has a reading card."""
    evaluations = [
        (read.run.finished, path.parent)
        for path in (workspace / "artefacts" / "evaluation").glob(f"[!.]*/{manifest.FILENAME}")
        if (read := manifest.manifest_in(path.parent))
        and read.inputs["student"] == student_version
        and prediction.FILENAME in read.files
    ]
    return max(evaluations)[1] if evaluations else None


def ecg_settings(student_manifest: manifest.Manifest | None, workspace: Path | None) -> EcgSettings:
    """Settings by which the student's training signals were made; for released weights the published ones."""
    version = student_manifest.inputs.get("ecg") if student_manifest else None
    if version is None:
        return EcgSettings(edge="published")
    made = workspace and manifest.manifest_in(workspace / "artefacts" / "ecg" / version)
    if not made:
        raise StoreError(
            f"ecg-{version}, which says how this student's signals were made, is not in {workspace}: give evaluation= "
            "or settings="
        )
    return EcgSettings.of_artefact(made.recipe)


def signals_version(student_manifest: manifest.Manifest | None, workspace: Path | None) -> int | None:
    """Code version of stage ecg that made the student's training signals; None where no manifest states it."""
    version = student_manifest.inputs.get("ecg") if student_manifest else None
    made = version and workspace and manifest.manifest_in(workspace / "artefacts" / "ecg" / version)
    return made.code_version if made else None


def check_signals(student: str, version: int | None) -> None:
    """Raises ContractError where a student would read other signals than it learned from, or was judged by.

    Args:
        student: its name.
        version: code version of stage ecg that made its signals; None where it is not known, as of released weights.
    """
    current, agree = ecg.CODE_VERSION, ecg.EQUAL_SIGNALS
    if version is not None and version != current and not {version, current} <= agree:
        raise ContractError(
            f"{student} was made with signals of ecg code version {version}; this release makes version {current}, "
            "which differ: use the release that made it, or train anew with 'echoingecg run'"
        )


def open_student(place: Path, device: str, allow_encoder: str = "") -> "LoadedStudent":
    """A student of its artefact's files, or of released weights with scaler and, it may be, tokenizer beside them."""
    from echoingecg.student import store

    if (place / student.ARCHITECTURE).is_file():
        return store.load(place, device, ecg_alone=True, allow_encoder=allow_encoder)
    from echoingecg.student.released import layout

    weights = place
    if place.is_dir():
        weights = _first_of(place, _RELEASED_WEIGHTS)
        if not weights.is_file():
            raise StoreError(f"{place} holds no student: neither {student.ARCHITECTURE} nor {weights.name}")
    folder = weights.parent
    has_tokenizer = any((folder / name).is_file() for name in (student.TOKENIZER, "vocab.txt"))
    text = str(folder) if has_tokenizer else _RELEASED_TEXT
    return layout.load_released(layout.read_released(weights, _first_of(folder, _RELEASED_SCALERS), text), device)


def _first_of(folder: Path, names: Sequence[str]) -> Path:
    return next((folder / name for name in names if (folder / name).is_file()), folder / names[0])


def _fetched(name: str) -> Path:
    """The folder of a Hugging Face repository, at `@COMMIT` if that is given; downloaded if it is not in the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=_HUB_FILES))
    except HFValidationError as fault:
        raise UserError(f"'{_HUB}{name}': write {_HUB}OWNER/NAME or {_HUB}OWNER/NAME@COMMIT") from fault
    except (HfHubHTTPError, HTTPError, OSError) as fault:
        raise StoreError(
            f"{_HUB}{name} cannot be fetched ({type(fault).__name__}): on a connected machine run 'hf download "
            f"{repository} --local-dir FOLDER', bring FOLDER here and load that"
        ) from fault
