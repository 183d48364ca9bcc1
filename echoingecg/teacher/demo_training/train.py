"""Training of the demo teacher: one frame and some sentences of each study, matched within the batch (as in CLIP).

Shapes: B studies of a batch, size = edge of the frames, px.
"""

import math
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import open_clip
import torch
from open_clip.loss import ClipLoss
from torch import Tensor, nn
from torch.nn import functional as F

from echoingecg.common import Progress, TrainingError, no_progress
from echoingecg.common.training_setup import learning_rate, reproducible
from echoingecg.recipe import Recipe, TeachingSettings
from echoingecg.teacher.demo_training.examples import Examples
from echoingecg.teacher.demo_training.losses import SentenceBank, number_lines, number_loss
from echoingecg.teacher.networks.frozen import per_channel

_MAX_LOGIT_SCALE = math.log(100)  # as in CLIP
_LAYER_SCALE = 0.1
_STEM_BIAS_DEVIATION = 0.1


def train_teacher(
    examples: Examples, config: dict[str, Any], recipe: Recipe, device: str, progress: Progress = no_progress
) -> nn.Module:
    """Trains an open_clip model from random weights.

    The same call gives the same weights bit for bit on one kind of machine and number of threads.

    Args:
        examples: studies to learn from, at least a batch.
        config: open_clip's `model_cfg` and `preprocess_cfg`.
        recipe: its teaching section and execution.threads are read.
        device: torch device.
        progress: receives the number of steps done.

    Returns:
        the open_clip CLIP, in eval mode, float32.

    Raises:
        TrainingError: fewer studies than a batch holds, or a loss that is not finite.
    """
    settings = recipe.teaching
    assert settings is not None
    if len(examples) < settings.batch_size:
        raise TrainingError(f"teaching.batch_size is {settings.batch_size}, but there are only {len(examples)} studies")
    with reproducible(settings.seed, recipe.execution.threads):
        return _train(examples, config, settings, device, progress).eval()


def _train(
    examples: Examples, config: dict[str, Any], settings: TeachingSettings, device: str, progress: Progress
) -> nn.Module:
    model = open_clip.CLIP(**config["model_cfg"]).to(device).train()
    model.visual.to(memory_format=torch.channels_last)
    tokenizer = open_clip.SimpleTokenizer(context_length=config["model_cfg"]["text_cfg"]["context_length"])
    mean, scale = (per_channel(config["preprocess_cfg"][name], torch.device(device)) for name in ("mean", "std"))
    bank = SentenceBank(examples, config["model_cfg"]["embed_dim"]).to(device)
    learned = nn.ModuleList([model, bank])
    optimizer = torch.optim.AdamW(_groups(learned, settings.weight_decay), lr=settings.learning_rate, betas=(0.9, 0.98))
    contrast, lines, random = ClipLoss(), number_lines(examples), np.random.default_rng([settings.seed, 1])

    def encode(texts: list[str]) -> Tensor:
        return model.encode_text(tokenizer(texts).to(device), normalize=True)

    for step, (studies, frames, texts) in enumerate(_batches(examples, settings)):
        rate = learning_rate(step, settings.steps, settings.learning_rate, settings.warmup_share, settings.warmup_start)
        for group in optimizer.param_groups:
            group["lr"] = rate
        images = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(scale)
        if step == 0:
            _initialise_image_tower(model.visual, images)
        embedding = model.encode_image(images)
        unit = F.normalize(embedding, dim=-1)
        contrastive = contrast(unit, encode(texts), model.logit_scale.exp())
        numbers = number_loss(lines, encode, model.logit_scale.exp() * unit, studies, random)
        loss = contrastive + settings.sorting_weight * bank(embedding, studies) + settings.number_weight * numbers
        if not math.isfinite(value := loss.item()):
            raise TrainingError(f"teaching: the loss is {value} at step {step + 1}: lower teaching.learning_rate")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned.parameters(), settings.gradient_clip)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, _MAX_LOGIT_SCALE)
        losses = f"loss {value:.3f}, contrastive {contrastive.item():.3f}, numbers {numbers.item():.3f}"
        progress(step + 1, settings.steps, losses)
    return model


def _batches(examples: Examples, settings: TeachingSettings) -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
    """Yields studies (B,), frames (B, size, size, 3) uint8 and B texts, `steps` times."""
    random = np.random.default_rng(settings.seed)
    for step, studies in enumerate(_order_of_studies(len(examples), settings.batch_size, settings.steps, random)):
        size = frame_edge(settings, step, examples.frames[0].shape[1])
        frames = examples.draw_frames(studies, random)
        frames = [cv2.resize(frame, (size, size), interpolation=cv2.INTER_AREA) for frame in frames]
        yield studies, np.stack(frames), [examples.draw_text(study, random) for study in studies]


def _order_of_studies(studies: int, batch: int, steps: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields batches (B,) int64 of study numbers, one random order of all studies after another.

    Studies at the end of an order that do not fill a batch are left out.
    """
    waiting = np.empty(0, np.int64)
    for _ in range(steps):
        if len(waiting) < batch:
            waiting = random.permutation(studies)
        yield waiting[:batch]
        waiting = waiting[batch:]


def frame_edge(settings: TeachingSettings, step: int, full: int) -> int:
    """Edge of the frames at a step, px: multiples of 8 while it grows (progressive learning: Tan and Le, ICML 2021).

    Args:
        settings: small_size and growing_share.
        step: from 0.
        full: edge of the model's own frames, px.
    """
    growing = settings.growing_share * settings.steps
    if step >= growing:
        return full
    return int(settings.small_size + step / growing * (full - settings.small_size)) // 8 * 8


def _initialise_image_tower(visual: nn.Module, images: Tensor) -> None:
    """Changes the initial weights of a ConvNeXt so that it can distinguish images from the first step.

    Layer scales start at 1e-6, and blocks then learn nothing for a long time: 0.1 instead (Touvron et al., ICCV 2021,
    for shallow networks). The stem starts without a bias, and layer norm then gives uniform patches of every grey
    level the same vector: a random bias keeps them apart. All images share one large mean embedding, which hides
    their differences from the cosine: the bias of the projection removes it.

    Args:
        visual: open_clip's image tower around a timm ConvNeXt, with a bias in its projection.
        images: (B, 3, size, size) normalised frames.
    """
    with torch.no_grad():
        for name, weight in visual.named_parameters():
            if name.endswith(".gamma"):
                weight.fill_(_LAYER_SCALE)
            if name == "trunk.stem.0.bias":
                nn.init.normal_(weight, std=_STEM_BIAS_DEVIATION)
        visual.get_parameter("head.proj.bias").sub_(visual(images).mean(dim=0))


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups of AdamW: matrices and kernels decay; norms, biases, layer scales and temperature do not."""
    decaying = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    rest = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [{"params": decaying, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
