"""An encoder of others as the student's trunk: how the pipeline's signal becomes its input, and what of it is trained.

Low-rank adapters beside frozen weights are LoRA (Hu et al., ICLR 2022), for 1-D convolutions and linear layers.
Shapes: B ECGs, 12 leads in the order of conventions.LEADS, T samples at 100 Hz; W windows of an ECG, `lead` and
`samples` those of the encoder, `time` steps of its features.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
from scipy.signal import firwin
from torch import Tensor, nn
from torch.nn import functional as F

from data_contracts.conventions import LEADS
from echoingecg.common import ContractError, RecipeError
from echoingecg.recipe import StudentSettings
from echoingecg.recipe.stages import PAPER_ENCODER, EncoderTuning
from echoingecg.student.encoders.kind import EncoderInput, EncoderKind, encoder_kind

_HALF_LENGTH = 10  # of the resampling filter, in samples of the lower rate, as scipy.signal.resample_poly
_KAISER_BETA = 5.0
_TINY = 1e-8  # added to a deviation or a range, as the published preprocessing of ECGFounder, MERL and HuBERT-ECG does


class Preparation(nn.Module):
    """Makes an encoder's input of the pipeline's signal. It has no weights.

    Rational polyphase resampling (Kaiser window, beta 5, edges repeated), the encoder's leads in its order,
    normalisation over the whole signal, then as many whole windows as fit; a signal shorter than a window gets zeros at
    its end. A lead that is 0 mV throughout stays constant. All of it is in float32, also under autocast.

    Args:
        declared: what the encoder takes.
    """

    resampling: Tensor
    order: Tensor

    def __init__(self, declared: EncoderInput) -> None:
        super().__init__()
        self.declared = declared
        self.up, self.down = declared.rate.as_integer_ratio()
        order = [LEADS.index(lead) for lead in declared.leads]
        self.register_buffer("order", torch.tensor(order), persistent=False)
        if (largest := max(self.up, self.down)) > 1:
            taps = self.up * firwin(2 * _HALF_LENGTH * largest + 1, 1 / largest, window=("kaiser", _KAISER_BETA))
            self.register_buffer("resampling", torch.from_numpy(taps).float()[None, None], persistent=False)

    def forward(self, signal: Tensor) -> Tensor:
        """Maps (B, 12, T), mV or standardised as declared, to (B, W, lead, samples) float32."""
        chosen = signal.float()[:, self.order]
        if self.up != self.down:
            chosen = self._resampled(chosen)
        chosen = normalised(chosen, self.declared)
        samples = self.declared.samples
        if (lacking := samples - chosen.shape[2]) > 0:
            chosen = F.pad(chosen, (0, lacking))
        windows = chosen.shape[2] // samples
        return chosen[:, :, : windows * samples].unflatten(2, (windows, samples)).transpose(1, 2)

    def _resampled(self, signal: Tensor) -> Tensor:
        ecgs, leads, samples = signal.shape
        reach = _HALF_LENGTH * max(self.up, self.down)
        margin = -(-reach // self.up)
        wide = F.pad(signal.reshape(ecgs * leads, 1, samples), (margin, margin), mode="replicate")
        dense = F.conv_transpose1d(wide, self.resampling, stride=self.up, padding=reach)
        first = margin * self.up
        return dense[:, :, first : first + samples * self.up : self.down].reshape(ecgs, leads, -1)


def normalised(signal: Tensor, declared: EncoderInput) -> Tensor:
    """Normalises amplitudes, (B, lead, T) float32, as declared; of a constant lead or ECG nothing is divided by 0."""
    over = (1, 2) if declared.normalisation in ("ecg", "ecg_range") else (2,)
    match declared.normalisation:
        case "ecg":
            centred = signal - signal.mean(over, keepdim=True)
            return centred / (centred.square().mean(over, keepdim=True).sqrt() + _TINY)
        case "lead":
            centred = signal - signal.mean(over, keepdim=True)
            deviation = centred.square().mean(over, keepdim=True).sqrt()
            return centred / deviation.masked_fill(deviation == 0, 1.0)
        case "ecg_range" | "lead_range":
            least = signal.amin(over, keepdim=True)
            share = (signal - least) / (signal.amax(over, keepdim=True) - least + _TINY)
            return share if declared.normalisation == "ecg_range" else 2 * share - 1
        case _:
            return signal


class Trunk(nn.Module):
    """An encoder of others, from the pipeline's signal to a feature sequence.

    Frozen, and with adapters, it stays in eval mode: dropout is off, and batch norms keep their running statistics.

    Args:
        kind: of the encoder.
        config: sizes of the network, as the kind's `build` takes them.
        network: (n, lead, samples) to (n, time, width).
        tuning: what of it is trained.
        rank: of the adapters, where there are any.
    """

    def __init__(
        self, kind: EncoderKind, config: Mapping[str, Any], network: nn.Module, tuning: EncoderTuning, rank: int
    ) -> None:
        super().__init__()
        self.kind, self.config = kind, dict(config)
        self.width = int(network.width)  # type: ignore[arg-type]
        self.is_kept = tuning != "full"
        self.preparation = Preparation(kind.declared)
        self.network = network.requires_grad_(not self.is_kept)
        if tuning == "lora":
            add_low_rank(self.network, rank)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Sets training mode as nn.Module.train does; the network stays in eval mode unless all of it is trained."""
        super().train(mode)
        if self.is_kept:
            self.network.eval()
        return self

    def forward(self, signal: Tensor) -> Tensor:
        """Computes the features of ECGs, (B, 12, T) to (B, W * time, width); windows follow one another in time."""
        if torch.is_autocast_enabled(signal.device.type):
            with torch.autocast(signal.device.type, enabled=False):
                windows = self.preparation(signal)
        else:  # autocast's context is no operation of ONNX
            windows = self.preparation(signal)
        ecgs, count = windows.shape[:2]
        features: Tensor = self.network(windows.flatten(0, 1))
        return features.reshape(ecgs, count * features.shape[1], self.width)

    def fresh(self, tuning: EncoderTuning = "full", rank: int = 1) -> "Trunk":
        """Makes a trunk of the same sizes with random weights."""
        return Trunk(self.kind, self.config, self.kind.build(self.config), tuning, rank)

    @property
    def card(self) -> dict[str, Any]:
        """What a stored student states about its encoder, as JSON values: name and sizes."""
        return {"name": self.kind.name, "config": self.config}


def trunk_of_recipe(settings: StudentSettings) -> Trunk | None:
    """Makes the trunk that a recipe names, with its weights; None for the paper's encoder.

    Raises:
        UserError: there is no such encoder, or its weights are missing or of another layout.
    """
    if settings.encoder == PAPER_ENCODER:
        return None
    kind = encoder_kind(settings.encoder, settings.encoder)
    return Trunk(kind, *kind.load(settings.encoder_weights), settings.encoder_tuning, settings.lora_rank)


def trunk_of_card(settings: StudentSettings, card: Any, allowed: str) -> Trunk | None:
    """Makes the trunk of a stored student, without its weights; None for the paper's encoder.

    Args:
        settings: of its training.
        card: what `Trunk.card` was.
        allowed: `package.module:Class` whose code may run.

    Raises:
        UserError: the encoder is code that is not allowed.
        ContractError: the card does not describe the encoder that the settings name.
    """
    if settings.encoder == PAPER_ENCODER:
        return None
    described = isinstance(card, Mapping) and card.get("name") == settings.encoder
    if not described or not isinstance(card.get("config"), dict):
        raise ContractError(f"the card of encoder '{settings.encoder}' is missing, or describes another one")
    kind = encoder_kind(settings.encoder, allowed)
    return Trunk(kind, card["config"], kind.built(card["config"]), settings.encoder_tuning, settings.lora_rank)


def takes_training_scale(settings: StudentSettings) -> bool:
    """Tells whether the encoder takes signals standardised over the training ECGs, as the paper's; else it takes mV."""
    if settings.encoder == PAPER_ENCODER:
        return True
    return encoder_kind(settings.encoder, settings.encoder).declared.normalisation == "training"


class LowRank(nn.Module):
    """A layer with a low-rank adapter: base(x) + up(down(x)). `up` starts at 0, so the sum starts as the base.

    For a convolution `down` has the base's kernel and stride, and `up` is pointwise: together a kernel of rank r.
    """

    def __init__(self, base: nn.Conv1d | nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down: nn.Module
        self.up: nn.Conv1d | nn.Linear
        if isinstance(base, nn.Linear):
            self.down = nn.Linear(base.in_features, rank, bias=False)
            self.up = nn.Linear(rank, base.out_features, bias=False)
        else:
            shape = (base.kernel_size, base.stride, base.padding, base.dilation)
            self.down = nn.Conv1d(base.in_channels, rank, *shape, bias=False)  # type: ignore[arg-type]
            self.up = nn.Conv1d(rank, base.out_channels, 1, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + self.up(self.down(x))
        return y


def add_low_rank(module: nn.Module, rank: int, without: tuple[nn.Module, ...] = ()) -> None:
    """Freezes a module and puts an adapter beside its convolutions and linear layers, in place.

    Layers inside torch's MultiheadAttention, which never calls them, and layers that have an adapter get none.

    Args:
        module: not itself such a layer.
        rank: of the adapters.
        without: layers to leave alone.
    """
    module.requires_grad_(False)
    named = dict(module.named_modules())
    skipped = (nn.MultiheadAttention, LowRank)
    closed = tuple(f"{name}." for name, inner in named.items() if isinstance(inner, skipped))
    for name, inner in named.items():
        if isinstance(inner, LowRank):
            inner.down.requires_grad_(True)
            inner.up.requires_grad_(True)
        elif isinstance(inner, nn.Conv1d | nn.Linear) and not name.startswith(closed) and inner not in without:
            parent, _, child = name.rpartition(".")
            module.get_submodule(parent).register_module(child, LowRank(inner, rank))
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise RecipeError("no layer takes a low-rank adapter: neither a 1-D convolution nor a linear layer")
