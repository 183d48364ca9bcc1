"""A folder of random weights in the layout of ECHO-CLIP, as the hub would give it."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from echoingecg.teacher.networks.open_clip import CONFIG, WEIGHTS, demo_config


def write_folder(folder: Path, small: bool = False, words: int = 49408) -> tuple[Any, Any]:
    """Writes configuration and weights; returns the model and open_clip's preparation of pictures.

    Args:
        folder: it exists.
        small: the architecture of the demo teacher instead of ConvNeXt-Base with 512 dimensions.
        words: of the text tower's vocabulary.
    """
    config = demo_config() if small else {"model_cfg": open_clip.get_model_config("convnext_base")}
    config["model_cfg"]["text_cfg"]["vocab_size"] = words
    if not small:
        config["preprocess_cfg"] = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    (folder / CONFIG).write_text(json.dumps(config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        model = open_clip.CLIP(**config["model_cfg"])
    save_file(model.state_dict(), folder / WEIGHTS[0])
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval(), prepare
