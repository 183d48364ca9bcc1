"""The contrastive loop: one frame and some sentences of each study, matched within the batch.

Shapes: B studies, D embedding width.
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

from echoingecg.common import Progress, TrainingError, silent
from echoingecg.common.training_setup import learning_rate, reproducible
from echoingecg.recipe import ExecutionSettings, TeachingSettings
from echoingecg.teacher.demo_training.examples import Examples
from echoingecg.teacher.demo_training.losses import SentenceBank, number_lines, number_loss
from echoingecg.teacher.model import per_channel

_MAX_LOGIT_SCALE = math.log(100)  # as in CLIP
_LAYER_SCALE = 0.1
_STEM_BIAS = 0.1


def teach(
    examples: Examples,
    config: dict[str, Any],
    settings: TeachingSettings,
    execution: ExecutionSettings,
    device: str,
    progress: Progress = silent,
) -> nn.Module:
    """Trains an open_clip model from nothing.

    The same call gives the same weights bit for bit on one kind of machine and number of threads.

    Args:
        examples: to learn from, at least a batch.
        config: open_clip's `model_cfg` and `preprocess_cfg`.
        settings: steps, batch, rates, sizes.
        execution: threads.
        device: torch device.
        progress: told the steps done.

    Returns:
        the open_clip CLIP, in eval mode, float32.

    Raises:
        TrainingError: fewer studies than a batch holds, or a loss that is not finite.
    """
    if len(examples) < settings.batch_size:
        raise TrainingError(f"teaching.batch_size is {settings.batch_size}, but there are only {len(examples)} studies")
    with reproducible(settings.seed, execution.threads):
        return _taught(examples, config, settings, device, progress).eval()


def _taught(
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
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, settings.steps)
        images = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(scale)
        if step == 0:
            _wake(model.visual, images)
        seen = model.encode_image(images)
        turned = F.normalize(seen, dim=-1)
        matched = contrast(turned, encode(texts), model.logit_scale.exp())
        counted = number_loss(lines, encode, model.logit_scale.exp() * turned, studies, random)
        loss = matched + settings.sorting_weight * bank(seen, studies) + settings.number_weight * counted
        if not math.isfinite(value := loss.item()):
            raise TrainingError(f"teaching: the loss is {value} at step {step + 1}: lower teaching.learning_rate")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned.parameters(), settings.gradient_clip)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, _MAX_LOGIT_SCALE)
        progress(
            step + 1,
            settings.steps,
            f"loss {value:.3f}, contrastive {matched.item():.3f}, numbers {counted.item():.3f}",
        )
    return model


def _batches(examples: Examples, settings: TeachingSettings) -> Iterator[tuple[np.ndarray, np.ndarray, list[str]]]:
    """Studies (B,), frames (B, size, size, 3) uint8 and B texts, `steps` times; all come before any comes again."""
    random = np.random.default_rng(settings.seed)
    for step, studies in enumerate(_order_of_studies(len(examples), settings.batch_size, settings.steps, random)):
        size = frame_edge(settings, step, examples.frames[0].shape[1])
        frames = [
            cv2.resize(one, (size, size), interpolation=cv2.INTER_AREA) for one in examples.draw_frames(studies, random)
        ]
        yield studies, np.stack(frames), [examples.draw_text(study, random) for study in studies]


def _order_of_studies(studies: int, batch: int, steps: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches (B,) int64 of study numbers: all come, but for a last part of a batch, before any comes again."""
    waiting = np.empty(0, np.int64)
    for _ in range(steps):
        if len(waiting) < batch:
            waiting = random.permutation(studies)
        yield waiting[:batch]
        waiting = waiting[batch:]


def frame_edge(settings: TeachingSettings, step: int, full: int) -> int:
    """Edge of the frames at a step, px, in multiples of 8 while it grows (progressive learning: Tan and Le, ICML 2021).

    Args:
        settings: small_size and growing_share.
        step: from 0.
        full: edge of the model's own frames, px.
    """
    growing = settings.growing_share * settings.steps
    if step >= growing:
        return full
    return int(settings.small_size + step / growing * (full - settings.small_size)) // 8 * 8


def _wake(visual: nn.Module, images: Tensor) -> None:
    """Lets a fresh ConvNeXt tell images apart.

    Its layer scales begin at 1e-6, so that blocks sleep for long: 0.1 instead (Touvron et al., ICCV 2021, for
    shallow networks). Its stem has no bias at first, so that layer norm gives flat patches of any grey level the
    same vector: a random bias keeps them apart. And all images share one large mean embedding, which hides their
    differences from the cosine: the projection's bias takes it away.

    Args:
        visual: open_clip's image tower around a timm ConvNeXt, with a bias in its projection.
        images: (B, 3, size, size) normalised frames.
    """
    with torch.no_grad():
        for name, weight in visual.named_parameters():
            if name.endswith(".gamma"):
                weight.fill_(_LAYER_SCALE)
            if name == "trunk.stem.0.bias":
                nn.init.normal_(weight, std=_STEM_BIAS)
        visual.get_parameter("head.proj.bias").sub_(visual(images).mean(dim=0))


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices and kernels decay; norms, biases, layer scales and the temperature do not."""
    decaying = [one for one in model.parameters() if one.ndim > 1]
    rest = [one for one in model.parameters() if one.ndim <= 1]
    return [{"params": decaying, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
