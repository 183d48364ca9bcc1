"""open_clip models, ECHO-CLIP among them: from the Hugging Face hub, a folder, or a name with a weights file.

The demo teacher of the package is one, too.
"""

import json
import re
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.conventions import UserError
from echoingecg.common import fingerprint, hash_files
from echoingecg.recipe.stages import DEMO_TEACHER
from echoingecg.teacher.networks.kind import TeacherKind, weights_file

if TYPE_CHECKING:
    from echoingecg.teacher.networks.frozen import FrozenTeacher

CONFIG = "open_clip_config.json"
# Names of the weights in a folder, in open_clip's order of preference.
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
DEMO_FOLDER = Path(__file__).parents[1] / "configs" / DEMO_TEACHER
_CLIP_WORDS = 49408  # tokens of CLIP's vocabulary
# Of CLIP's pictures, values of 0 to 1 (Radford et al., ICML 2021): what open_clip takes where a model states none.
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class Kind(TeacherKind):
    """An open_clip model with both towers."""

    def files(self) -> dict[str, Path]:
        """Finds the weights, and for a folder its configuration."""
        folder = self._folder()
        if folder is None:
            return {"weights": weights_file(self.settings, self.settings.weights)}
        weights = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
        if weights is None or not (folder / CONFIG).is_file():
            model = self.settings.model
            raise UserError(f"teacher.model '{model}': the folder needs {CONFIG} and one of {', '.join(WEIGHTS)}")
        return {"config": folder / CONFIG, "weights": weights}

    def identity(self) -> dict[str, str]:
        """Identifies the model by what it computes: equal for hub, folder and weights file of the same content."""
        files = self.files()
        about = json.loads(files["config"].read_bytes()) if "config" in files else _library_config(self.place)
        preprocess = about.get("preprocess_cfg") or {}
        scale = [list(preprocess.get("mean") or _MEAN), list(preprocess.get("std") or _STD)]
        config = fingerprint([about.get("model_cfg"), scale])
        return {"model": "open_clip", "config": config, "weights": hash_files([files["weights"]])}

    def load(self, device: str, compiled: bool) -> "FrozenTeacher":
        """Builds the model by open_clip."""
        import open_clip
        import torch

        from echoingecg.teacher.networks.frozen import FrozenTeacher, Preprocessing

        files, folder = self.files(), self._folder()
        name = f"local-dir:{folder}" if folder else self.settings.model
        model = open_clip.create_model(
            name,
            pretrained=None if folder else str(files["weights"]),
            force_image_size=self.settings.image_size or None,
            require_pretrained=True,
            weights_only=True,
        )
        model = model.eval().requires_grad_(False)
        tokenizer = cache(partial(open_clip.get_tokenizer, name))  # not before the first text

        def encode(texts: list[str], where: torch.device) -> torch.Tensor:
            tokens: torch.Tensor = tokenizer()(texts)
            return model.to(where).encode_text(tokens.to(where), normalize=True)

        config = open_clip.get_model_preprocess_cfg(model.visual)
        preprocessing = Preprocessing(_square_edge(config["size"]), config["mean"], config["std"])
        reads_text = _has_known_words(model, open_clip.get_model_config(name))
        return FrozenTeacher(
            model.visual, preprocessing, self.settings, device, compiled, encode if reads_text else None
        )

    def _folder(self) -> Path | None:
        """Finds the model's folder; None for an architecture of open_clip's own. Raises UserError."""
        model = self.settings.model
        if model == DEMO_TEACHER:
            return DEMO_FOLDER
        schema, colon, name = model.partition(":")
        if not colon:
            return None
        if self.settings.weights:
            raise UserError(f"teacher.weights is for an open_clip name; '{model}' brings its own weights")
        return Path(name) if schema == "local-dir" else _hub_folder(name)


def demo_config() -> dict[str, Any]:
    """Reads the open_clip configuration of the demo teacher: `model_cfg` and `preprocess_cfg`."""
    config: dict[str, Any] = json.loads((DEMO_FOLDER / CONFIG).read_text(encoding="utf-8"))
    return config


def _square_edge(size: int | tuple[int, int]) -> int:
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise UserError(f"teacher: the model takes {width} x {height} px images, only square ones are supported")
    return height


def _has_known_words(model: Any, config: dict[str, Any] | None) -> bool:
    """Whether the text tower's words are those of a tokenizer that open_clip has.

    ECHO-CLIP-R has a vocabulary of report templates, which open_clip would take for CLIP's.
    """
    text = (config or {}).get("text_cfg", {})
    if text.get("hf_tokenizer_name") or text.get("hf_model_name") or not hasattr(model, "token_embedding"):
        return True
    return bool(model.token_embedding.num_embeddings == _CLIP_WORDS)


def _library_config(name: str) -> dict[str, Any]:
    """Reads open_clip's own configuration of an architecture without importing it; only the name, where it has none."""
    library = find_spec("open_clip")
    folders = library.submodule_search_locations if library is not None else None
    file = Path(next(iter(folders or [""]))) / "model_configs" / f"{name}.json"
    return {"model_cfg": json.loads(file.read_bytes()) if file.is_file() else name}


def _hub_folder(name: str) -> Path:
    """Finds the folder of a repository in the cache of the Hugging Face hub; downloads it if it is not there.

    The cache comes first, so that a rerun needs no network and reads the files of the first run.

    Args:
        name: OWNER/NAME, or OWNER/NAME@REVISION: a commit, which stays what it is, or a tag or branch.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    repository, at_sign, revision = name.partition("@")
    if at_sign and not re.fullmatch(r"[\w.-]+", revision):
        raise UserError(f"teacher.model 'hf-hub:{name}': '{revision}' is no revision, such as a commit")
    try:
        config = try_to_load_from_cache(repository, CONFIG, revision=revision or None)
        cached = [try_to_load_from_cache(repository, file, revision=revision or None) for file in WEIGHTS]
        if isinstance(config, str) and any(isinstance(path, str) for path in cached):
            return Path(config).parent
        return _downloaded(repository, revision or None)
    except HFValidationError as fault:
        raise UserError(
            f"teacher.model 'hf-hub:{name}': write hf-hub:owner/name or hf-hub:owner/name@commit"
        ) from fault
    except (HfHubHTTPError, HTTPError, OSError) as fault:
        raise UserError(
            f"teacher.model 'hf-hub:{name}' cannot be fetched ({type(fault).__name__}): on a connected machine "
            f"run 'hf download {repository}{f' --revision {revision}' if revision else ''} --local-dir FOLDER', bring "
            f"FOLDER here, and set teacher.model to local-dir:FOLDER"
        ) from fault


def _downloaded(repository: str, revision: str | None) -> Path:
    """Downloads the configuration and the first kind of weights that the repository holds, and returns their folder."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    folder = Path(hf_hub_download(repository, CONFIG, revision=revision)).parent
    for name in WEIGHTS:
        try:
            hf_hub_download(repository, name, revision=revision)
            break
        except LocalEntryNotFoundError:  # no network: the next name would fail too
            raise
        except EntryNotFoundError:
            continue
    return folder
