"""Evaluates a trained demo teacher (LVEF by prompts alone) and saves it as an open_clip folder with a model card."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch import nn

from echoingecg.common.prompt_ranking import best_median, values_by_rank
from echoingecg.recipe import Recipe, write_recipe
from echoingecg.teacher import embed
from echoingecg.teacher.demo_training.examples import Examples
from echoingecg.teacher.networks.open_clip import CONFIG, WEIGHTS

CARD = "MODEL_CARD.md"
RECIPE = "recipe.yaml"
EVALUATION = "judgement.json"  # the name that the shipped teacher's folder has
_PROMPT = "LV ejection fraction is {} %."
_PROMPT_VALUES = np.arange(101)  # %


@dataclass(frozen=True)
class Evaluation:
    """LVEF by ranked prompts against the measured LVEF.

    Attributes:
        studies: how many were evaluated.
        mae: mean absolute error, percentage points.
        plain_mae: error of the constant answer, the median LVEF of these studies, percentage points.
        auroc_40: AUROC for LVEF < 40 %; NaN where one class is absent.
        correlation: Pearson's.
    """

    studies: int
    mae: float
    plain_mae: float
    auroc_40: float
    correlation: float


def evaluate(teacher: embed.Teacher, examples: Examples) -> Evaluation:
    """Estimates LVEF by ranked prompts (ECHO-CLIP, Christensen et al., Nature Medicine 2024), without any label.

    Args:
        teacher: a teacher with a text tower.
        examples: at least two studies with a measured LVEF; the others are left out.
    """
    prompts = teacher.embed_text([_PROMPT.format(value) for value in _PROMPT_VALUES])
    measured = np.flatnonzero(np.isfinite(examples.lvef))
    embedded = embed.embed_clips(((study, examples.frames[study]) for study in measured), [teacher])
    estimate = np.array([ranked_value(frames, prompts, _PROMPT_VALUES) for _, frames in embedded])
    lvef = examples.lvef[measured]
    reduced = lvef < 40
    return Evaluation(
        studies=len(lvef),
        mae=float(np.abs(estimate - lvef).mean()),
        plain_mae=float(np.abs(np.median(lvef) - lvef).mean()),
        auroc_40=float(roc_auc_score(reduced, -estimate)) if 0 < reduced.sum() < len(lvef) else float("nan"),
        correlation=float(np.corrcoef(estimate, lvef)[0, 1]),
    )


def ranked_value(frames: np.ndarray, prompts: np.ndarray, values: np.ndarray) -> float:
    """A study's number: prompts that differ only in a number are ranked for every frame.

    The numbers at each rank are averaged over the frames; the median of the best-ranked fifth is the answer.

    Args:
        frames: (frame, dim) unit-length embeddings of all frames of a study, at least one.
        prompts: (prompt, dim) unit-length embeddings, at least one.
        values: (prompt,) the number that each prompt states.
    """
    return float(best_median(values_by_rank(frames, prompts, values).mean(axis=0)))


def save_teacher(folder: Path, model: nn.Module, config: dict[str, Any]) -> None:
    """Writes the configuration and the weights (floating point as float16). `local-dir:` takes the folder.

    Raises:
        OSError: the disk cannot take them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.to(torch.float16 if value.is_floating_point() else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(state, folder / WEIGHTS[0])
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def save_card(
    folder: Path, model: nn.Module, config: dict[str, Any], recipe: Recipe, examples: Examples, evaluation: Evaluation
) -> None:
    """Writes the model card, the recipe, and the evaluation as JSON beside the weights.

    Args:
        folder: folder that `save_teacher` wrote.
        model: the model; its parameters are counted.
        config: its configuration.
        recipe: with a teaching section.
        examples: what the model was trained with.
        evaluation: on held-out patients.
    """
    assert recipe.teaching is not None
    card = _CARD.format(
        vision=config["model_cfg"]["vision_cfg"]["timm_model_name"],
        size=config["model_cfg"]["vision_cfg"]["image_size"],
        dim=config["model_cfg"]["embed_dim"],
        parameters=_millions_of_parameters(model),
        vision_parameters=_millions_of_parameters(model.get_submodule("visual")),
        train_studies=len(examples),
        train_frames=examples.frame_count,
        steps=recipe.teaching.steps,
        batch=recipe.teaching.batch_size,
        **asdict(evaluation),
    )
    (folder / CARD).write_text(card, encoding="utf-8")
    (folder / RECIPE).write_text(write_recipe(recipe), encoding="utf-8")
    (folder / EVALUATION).write_text(json.dumps(asdict(evaluation), indent=2) + "\n", encoding="utf-8")


def _millions_of_parameters(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


_CARD = """# The demo teacher

A small CLIP of echo frames and report sentences, in open_clip's format: {vision}, {size} px, {dim} dimensions,
{parameters:.1f} M parameters ({vision_parameters:.1f} M of them see, the others read), float16.

**Not for patients.** It has seen nothing but simulated hearts. It makes the demonstration of this repository a real
experiment with a known answer, and has no other use. Real echo clips pass through it without error, but they are out of
its domain: what it says of them means nothing. For real echoes use ECHO-CLIP (`teacher.model` in a recipe).

## How it was made

`echoingecg teach FOLDER`, with the recipe beside this card. {train_studies} simulated studies, {train_frames} frames,
{steps} steps of {batch} pairs of a frame and some sentences of its study's report, drawn anew each time; the symmetric
contrastive loss of CLIP (Radford et al., ICML 2021), and beside it two losses: one sorts frames by the sentences of
their reports, one lays sentences that differ in a number on a line. Nothing but frames and report texts is learned
from. The same command gives the same bytes on one kind of machine and number of threads.

## What was measured

LVEF by ranked prompts ("LV ejection fraction is N %.", N from 0 to 100; ECHO-CLIP's method, Christensen et al., Nature
Medicine 2024), without any label, on {studies} studies of patients that it has never seen:

| | |
|---|---|
| mean absolute error | {mae:.1f} points (always answering the median: {plain_mae:.1f}) |
| correlation with the measured LVEF | {correlation:.2f} |
| AUROC for LVEF < 40 % | {auroc_40:.3f} |

It sees one frame at a time, as ECHO-CLIP does: motion is known to it only by what a single frame shows of the phase.

Licence: Apache-2.0, as the rest of this repository.
"""
