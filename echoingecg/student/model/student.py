"""The student network: an ECG encoder and a text encoder, both to Gaussians in the teacher's space.

The ECG encoder is a 1-D residual network (EchoingECG, section 2.2). Modules have the names of the released weights.
Shapes: B ECGs, C channels, T time steps.
"""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from data_contracts.conventions import LEADS
from echoingecg.recipe import ModelSettings
from echoingecg.student.model import gaussian_heads, text_encoder

STEM_KERNEL = 7
STEM_STRIDE = 2


class BasicBlock(nn.Module):
    """Residual block: conv3-BN-ReLU-conv3-BN plus shortcut, ReLU (He et al., CVPR 2016, figure 5 left, in 1-D)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm1d(channels)
        reshaped = stride != 1 or channels_in != channels
        projection = (nn.Conv1d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm1d(channels))
        self.shortcut = nn.Sequential(*projection) if reshaped else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C_in, T) to (B, C, ceil(T / stride))."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class SignalEncoder(gaussian_heads.GaussianHeads):
    """Encodes 12-lead ECGs as Gaussians: features of a trunk, pooled by the heads."""

    def forward(self, signal: Tensor) -> gaussian_heads.GaussianTensor:
        """Encodes ECGs as Gaussians.

        Args:
            signal: (B, 12, T) float32, leads in the order of conventions.LEADS, scaled by the student's scaler.
        """
        return self.pool(self.features(signal))

    @abstractmethod
    def features(self, signal: Tensor) -> Tensor:
        """Computes the trunk's features of ECGs, (B, 12, T) to (B, time, channel)."""


class EcgEncoder(SignalEncoder):
    """Encodes standardised 12-lead ECGs by the paper's trunk.

    Args:
        settings: init_dim, width_factors, blocks, embed_dim and gpo_dim are used.
    """

    def __init__(self, settings: ModelSettings) -> None:
        widths = [settings.init_dim, *(settings.init_dim * factor for factor in settings.width_factors)]
        super().__init__(widths[-1], settings.embed_dim, settings.gpo_dim)
        self.stages = add_residual_net(self, widths, settings.blocks)

    def features(self, signal: Tensor) -> Tensor:
        """Computes the trunk's features of ECGs, (B, 12, T) to (B, time, channel)."""
        return residual_features(self, self.stages, signal)


def add_residual_net(module: nn.Module, widths: Sequence[int], blocks: Sequence[int]) -> list[str]:
    """Adds the layers of a 1-D residual net to a module: conv1, bn1, layer1, layer2, ... for 12 leads.

    Args:
        module: which gets them.
        widths: of the stem, then of each stage.
        blocks: of each stage; the first stage keeps the length, each other one halves it.

    Returns:
        The names of the stages.
    """
    stem = widths[0]
    module.conv1 = nn.Conv1d(len(LEADS), stem, STEM_KERNEL, STEM_STRIDE, padding=STEM_KERNEL // 2, bias=False)
    module.bn1 = nn.BatchNorm1d(stem)
    stages = [f"layer{number}" for number in range(1, len(blocks) + 1)]
    for name, (channels_in, channels), count in zip(stages, pairwise(widths), blocks, strict=True):
        first = BasicBlock(channels_in, channels, stride=1 if name == "layer1" else 2)
        others = (BasicBlock(channels, channels, stride=1) for _ in range(count - 1))
        module.add_module(name, nn.Sequential(first, *others))
    return stages


def residual_features(module: nn.Module, stages: Sequence[str], signal: Tensor) -> Tensor:
    """Applies the layers of `add_residual_net`, (B, 12, T) to (B, time, channel)."""
    x = F.relu(module.get_submodule("bn1")(module.get_submodule("conv1")(signal)))
    for name in stages:
        x = module.get_submodule(name)(x)
    return x.transpose(1, 2)


class TrunkEncoder(SignalEncoder):
    """Encodes 12-lead ECGs by a trunk of others, under the student's own heads.

    Args:
        trunk: (B, 12, T) to (B, time, `trunk.width`).
        settings: embed_dim and gpo_dim are used.
    """

    def __init__(self, trunk: nn.Module, settings: ModelSettings) -> None:
        super().__init__(int(trunk.width), settings.embed_dim, settings.gpo_dim)  # type: ignore[arg-type]
        self.trunk = trunk

    def features(self, signal: Tensor) -> Tensor:
        """Computes the trunk's features of ECGs, (B, 12, T) to (B, time, channel)."""
        features: Tensor = self.trunk(signal)
        return features


class Student(nn.Module):
    """Encodes ECGs and texts as Gaussians in the teacher's space (EchoingECG, figure 1).

    Args:
        settings: the architecture.
        backbone: transformers encoder of the text tower, from text_encoder.text_tower or backbone_from_config.
        trunk: of the ECG encoder, from encoders.trunk; None for the paper's.
    """

    def __init__(self, settings: ModelSettings, backbone: nn.Module, trunk: nn.Module | None = None) -> None:
        super().__init__()
        self.ecg_encoder = EcgEncoder(settings) if trunk is None else TrunkEncoder(trunk, settings)
        self.text_encoder = text_encoder.TextEncoder(backbone, settings)
        if settings.log_var_start is not None:
            self.ecg_encoder.start_log_var(settings.log_var_start)
            self.text_encoder.start_log_var(settings.log_var_start)

    def encode_ecg(self, signal: Tensor) -> gaussian_heads.GaussianTensor:
        """Encodes ECGs as Gaussians.

        Args:
            signal: (B, 12, T) float32, leads in the order of conventions.LEADS, standardised per lead.
        """
        gaussian: gaussian_heads.GaussianTensor = self.ecg_encoder(signal)
        return gaussian

    def encode_text(self, ids: Tensor, mask: Tensor) -> gaussian_heads.GaussianTensor:
        """Encodes wrapped, tokenised texts as Gaussians.

        Args:
            ids: (B, T) int64.
            mask: (B, T) int64, 1 for a token, 0 for the padding at the end.
        """
        gaussian: gaussian_heads.GaussianTensor = self.text_encoder(ids, mask)
        return gaussian
