"""A taught model as a folder: open_clip's configuration, float16 safetensors, a model card with what was measured.

What the teacher itself says of a study, by prompts alone (ECHO-CLIP, Christensen et al., Nature Medicine 2024).

How well a teacher tells LVEF by prompts alone, on studies it has never seen.
"""

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
from echoingecg.teacher import embed, identity
from echoingecg.teacher.demo_training.examples import Examples

LVEF_PROMPT = "LV ejection fraction is {} %."


def finding_score(frames: np.ndarray, prompts: np.ndarray) -> float:
    """How well a finding's prompts fit a study: mean cosine similarity over frames and prompts.

    Args:
        frames: (frame, dim) unit-length embeddings of all frames of a study.
        prompts: (prompt, dim) unit-length embeddings of a finding's sentences.
    """
    return float((frames.astype(np.float32) @ prompts.T).mean())


def ranked_value(frames: np.ndarray, prompts: np.ndarray, values: np.ndarray) -> float:
    """A number by ranking: prompts that differ in it alone are ranked for every frame.

    The value found at each rank is averaged over the frames; the median of the best-ranked fifth is the answer.

    Args:
        frames: (frame, dim) unit-length embeddings of all frames of a study, at least one.
        prompts: (prompt, dim) unit-length embeddings, at least one.
        values: (prompt,) the number that each prompt states.
    """
    return float(best_median(values_by_rank(frames, prompts, values).mean(axis=0)))


CANDIDATES = np.arange(101)  # %


@dataclass(frozen=True)
class Judgement:
    """LVEF by ranked prompts against the measured one.

    Attributes:
        studies: how many were judged.
        mae: mean absolute error, percentage points.
        plain_mae: of answering the median LVEF of these studies every time.
        auroc_40: of LVEF < 40 %; NaN where one class is absent.
        correlation: Pearson's.
    """

    studies: int
    mae: float
    plain_mae: float
    auroc_40: float
    correlation: float


def judge(teacher: embed.Teacher, examples: Examples) -> Judgement:
    """Judges the studies whose LVEF was measured.

    Args:
        teacher: frames and prompts go through its two towers.
        examples: at least two studies with a measured LVEF.
    """
    prompts = teacher.embed_text([LVEF_PROMPT.format(value) for value in CANDIDATES])
    measured = np.flatnonzero(np.isfinite(examples.lvef))
    studies = ((study, examples.frames[study]) for study in measured)
    found = np.array([ranked_value(frames, prompts, CANDIDATES) for _, frames in embed.embed_clips(studies, [teacher])])
    true = examples.lvef[measured]
    reduced = true < 40
    return Judgement(
        studies=len(true),
        mae=float(np.abs(found - true).mean()),
        plain_mae=float(np.abs(np.median(true) - true).mean()),
        auroc_40=float(roc_auc_score(reduced, -found)) if 0 < reduced.sum() < len(true) else float("nan"),
        correlation=float(np.corrcoef(found, true)[0, 1]),
    )


CARD = "MODEL_CARD.md"
RECIPE = "recipe.yaml"
JUDGEMENT = "judgement.json"

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


def save_teacher(folder: Path, model: nn.Module, config: dict[str, Any]) -> None:
    """Writes the configuration and the weights, float16 for floating point. `local-dir:` takes the folder.

    Raises:
        OSError: the disk cannot take them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name: value.to(torch.float16 if value.is_floating_point() else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(state, folder / identity.WEIGHTS[0])
    (folder / identity.CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def save_card(
    folder: Path, model: nn.Module, config: dict[str, Any], recipe: Recipe, judged: Judgement, studies: int, frames: int
) -> None:
    """Writes the model card, the recipe and the judgement as JSON beside the weights.

    Args:
        folder: of `save_teacher`.
        model: the model, for its size.
        config: its configuration.
        recipe: with a teaching section.
        judged: on held-out patients.
        studies: learned from.
        frames: of these studies.
    """
    assert recipe.teaching is not None
    card = _CARD.format(
        vision=config["model_cfg"]["vision_cfg"]["timm_model_name"],
        size=config["model_cfg"]["vision_cfg"]["image_size"],
        dim=config["model_cfg"]["embed_dim"],
        parameters=_millions(model),
        vision_parameters=_millions(model.get_submodule("visual")),
        train_studies=studies,
        train_frames=frames,
        steps=recipe.teaching.steps,
        batch=recipe.teaching.batch_size,
        **asdict(judged),
    )
    (folder / CARD).write_text(card, encoding="utf-8")
    (folder / RECIPE).write_text(write_recipe(recipe), encoding="utf-8")
    (folder / JUDGEMENT).write_text(json.dumps(asdict(judged), indent=2) + "\n", encoding="utf-8")


def _millions(module: nn.Module) -> float:
    return sum(one.numel() for one in module.parameters()) / 1e6
