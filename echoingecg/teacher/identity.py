"""Finds the files of the teacher that a recipe names, and identifies them by their content. Needs no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_contracts.conventions import UserError
from echoingecg.common import hash_files
from echoingecg.recipe.stages import DEMO_TEACHER, TeacherSettings

CONFIG = "open_clip_config.json"
# Names of the weights in a folder, in open_clip's order of preference.
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
TORCHVISION = "torchvision:"
TABLE = "table:"  # vectors that were made elsewhere
_WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_TABLE_SUFFIXES = (".parquet", ".csv")
DEMO_FOLDER = Path(__file__).parent / "configs" / DEMO_TEACHER


@dataclass(frozen=True)
class Source:
    """The files of a teacher.

    Attributes:
        folder: folder with `open_clip_config.json` and weights; None for an architecture that a library defines.
        weights: the weights file.
    """

    folder: Path | None
    weights: Path


def teacher_identity(settings: TeacherSettings) -> dict[str, str]:
    """Identifies the teacher by the content of its files: equal identities mean equal teachers.

    Reads and hashes the weights file, or the table of vectors. For 'hf-hub:' it downloads files that are not in the
    cache yet, so that the identity is the same before and after the first run.

    Raises:
        UserError: no such model, no weights, or no network to download them.
    """
    if (table := table_file(settings)) is not None:
        return {"model": TABLE.rstrip(":"), "table": hash_files([table])}
    source = teacher_source(settings)
    identity = {"model": settings.model.partition(":")[0] if source.folder else settings.model}
    if settings.model.startswith("hf-hub:"):
        identity["model"] = settings.model
    if source.folder:
        identity["config"] = hash_files([source.folder / CONFIG])
    return identity | {"weights": hash_files([source.weights])}


def table_file(settings: TeacherSettings) -> Path | None:
    """Finds the table of vectors that the recipe names; None for a teacher that reads clips.

    Raises:
        UserError: there is no such file, or other settings of the teacher need the clips.
    """
    if not settings.model.startswith(TABLE):
        return None
    path = Path(settings.model.removeprefix(TABLE)).expanduser()
    if path.suffix not in _TABLE_SUFFIXES or not path.is_file():
        raise UserError(f"teacher.model '{settings.model}': no such file of a kind {', '.join(_TABLE_SUFFIXES)}")
    if settings.weights:
        raise UserError(f"teacher.weights is for an open_clip name; '{TABLE}' brings its own vectors")
    if settings.view_filter or settings.colour_doppler == "refuse":
        raise UserError(
            f"teacher.view_filter and teacher.colour_doppler look at clips, which '{TABLE}' never opens: leave their "
            "rows out of the table"
        )
    return path


def demo_config() -> dict[str, Any]:
    """Reads the open_clip configuration of the demo teacher: `model_cfg` and `preprocess_cfg`."""
    return json.loads((DEMO_FOLDER / CONFIG).read_text(encoding="utf-8"))


def teacher_source(settings: TeacherSettings) -> Source:
    """Finds the files of the teacher that the recipe names.

    Raises:
        UserError: no such model, no weights, no network to download them, or a table of vectors, which has none.
    """
    if settings.model == DEMO_TEACHER:
        return _in_folder(DEMO_FOLDER, settings.model)
    if settings.model.startswith(TORCHVISION):
        return Source(None, _weights_file(settings))
    if settings.model.startswith(TABLE):
        raise UserError(
            f"teacher.model '{settings.model}' is a table of vectors: there is no network that embeds clips"
        )
    schema, colon, name = settings.model.partition(":")
    if colon and schema not in ("local-dir", "hf-hub"):
        raise UserError(
            f"teacher.model '{settings.model}': unknown schema '{schema}', use local-dir:, hf-hub:, {TORCHVISION} or "
            f"{TABLE}"
        )
    if colon and settings.weights:
        raise UserError(f"teacher.weights is for an open_clip name; '{settings.model}' brings its own weights")
    if schema == "local-dir" and colon:
        return _in_folder(Path(name), settings.model)
    if schema == "hf-hub" and colon:
        return _in_folder(_hub_folder(name), settings.model)
    return Source(None, _weights_file(settings))


def _weights_file(settings: TeacherSettings) -> Path:
    if not settings.weights:
        raise UserError(
            f"teacher.model '{settings.model}' has no weights, and random ones are refused: "
            f"set teacher.weights to a file, or teacher.model to '{DEMO_TEACHER}'"
        )
    path = Path(settings.weights)
    if path.suffix not in _WEIGHTS_SUFFIXES or not path.is_file():
        raise UserError(f"teacher.weights {path}: no such file of a kind {', '.join(_WEIGHTS_SUFFIXES)}")
    return path


def _in_folder(folder: Path, model: str) -> Source:
    weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if weights is None or not (folder / CONFIG).is_file():
        raise UserError(f"teacher.model '{model}': the folder needs {CONFIG} and one of {', '.join(WEIGHTS)}")
    return Source(folder, weights)


def _hub_folder(repository: str) -> Path:
    """Finds the repository's folder in the cache of the Hugging Face hub; downloads it if it is not there.

    The cache comes first, so that a rerun needs no network and reads the files of the first run.
    """
    from httpx import HTTPError
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        config = try_to_load_from_cache(repository, CONFIG)
        cached = [try_to_load_from_cache(repository, name) for name in WEIGHTS]
        if isinstance(config, str) and any(isinstance(path, str) for path in cached):
            return Path(config).parent
        return _downloaded(repository)
    except HFValidationError as fault:
        raise UserError(f"teacher.model 'hf-hub:{repository}': write hf-hub:owner/name") from fault
    except (HfHubHTTPError, HTTPError, OSError) as fault:
        raise UserError(
            f"teacher.model 'hf-hub:{repository}' cannot be fetched ({type(fault).__name__}): on a connected machine "
            f"run 'hf download {repository} --local-dir FOLDER', bring FOLDER here, and set teacher.model to "
            f"local-dir:FOLDER"
        ) from fault


def _downloaded(repository: str) -> Path:
    """Downloads the configuration and the first kind of weights that the repository holds, and returns their folder."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    folder = Path(hf_hub_download(repository, CONFIG)).parent
    for name in WEIGHTS:
        try:
            hf_hub_download(repository, name)
            break
        except LocalEntryNotFoundError:  # no network: the next name would fail too
            raise
        except EntryNotFoundError:
            continue
    return folder
