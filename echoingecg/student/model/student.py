"""The student network: an ECG encoder and a text encoder, both to Gaussians in the teacher's space.

The ECG encoder is a 1-D residual network (EchoingECG, section 2.2). Modules have the names of the released weights.
Shapes: B ECGs, C channels, T time steps.
"""

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


class EcgEncoder(gaussian_heads.GaussianHeads):
    """Encodes standardised 12-lead ECGs as Gaussians.

    Stages are called layer1, layer2, ...; the first keeps the length, each other stage halves it.

    Args:
        settings: init_dim, width_factors, blocks, embed_dim and gpo_dim are used.
    """

    def __init__(self, settings: ModelSettings) -> None:
        widths = [settings.init_dim, *(settings.init_dim * factor for factor in settings.width_factors)]
        super().__init__(widths[-1], settings.embed_dim, settings.gpo_dim)
        self.conv1 = nn.Conv1d(
            len(LEADS), settings.init_dim, STEM_KERNEL, STEM_STRIDE, padding=STEM_KERNEL // 2, bias=False
        )
        self.bn1 = nn.BatchNorm1d(settings.init_dim)
        self.stages = [f"layer{number}" for number in range(1, len(settings.blocks) + 1)]
        for name, (channels_in, channels), blocks in zip(self.stages, pairwise(widths), settings.blocks, strict=True):
            first = BasicBlock(channels_in, channels, stride=1 if name == "layer1" else 2)
            others = (BasicBlock(channels, channels, stride=1) for _ in range(blocks - 1))
            self.add_module(name, nn.Sequential(first, *others))

    def forward(self, signal: Tensor) -> gaussian_heads.GaussianTensor:
        """Encodes ECGs as Gaussians.

        Args:
            signal: (B, 12, T) float32, leads in the order of conventions.LEADS, standardised per lead.
        """
        return self.pool(self.features(signal))

    def features(self, signal: Tensor) -> Tensor:
        """Computes the trunk's features of ECGs, (B, 12, T) to (B, time, channel)."""
        x = F.relu(self.bn1(self.conv1(signal)))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return x.transpose(1, 2)


class Student(nn.Module):
    """Encodes ECGs and texts as Gaussians in the teacher's space (EchoingECG, figure 1).

    Args:
        settings: the architecture.
        backbone: transformers encoder of the text tower, from text_encoder.text_tower or backbone_from_config.
    """

    def __init__(self, settings: ModelSettings, backbone: nn.Module) -> None:
        super().__init__()
        self.ecg_encoder = EcgEncoder(settings)
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
