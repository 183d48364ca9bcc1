"""ECGFounder: Net1D, a 1-D RegNet with squeeze-and-excitation, 12 leads (Li et al., NEJM AI 2025, arXiv 2410.04133).

Modules have the names of the published weights. Shapes: n windows, C channels, T time steps.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from echoingecg.student.encoders.kind import CLINICAL_LEADS, EncoderInput, EncoderKind, count_of, size_of

_SQUEEZE = 2  # channels of a block to those of its squeeze


class SameConv(nn.Module):
    """Convolution that pads with zeros so that the output has ceil(T / stride) steps; the odd zero is at the end."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv1d(channels_in, channels, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, C_in, T) to (n, C, ceil(T / stride))."""
        steps = -(-x.shape[2] // self.stride)
        padding = max(0, (steps - 1) * self.stride + self.kernel - x.shape[2])
        y: Tensor = self.conv(F.pad(x, (padding // 2, padding - padding // 2)))
        return y


class Block(nn.Module):
    """Bottleneck of pointwise, grouped and pointwise convolution, each behind SiLU, then squeeze-and-excitation.

    The shortcut is the maximum of each two steps, where the block halves the time, and zeros on both sides, where it
    widens. The published network has batch norms that it does not apply.

    Args:
        channels_in, channels: before and behind.
        kernel: of the grouped convolution.
        groups: of the grouped convolution.
        stride: 2 halves the time.
        is_first: the very first block begins without SiLU.
    """

    def __init__(self, channels_in: int, channels: int, kernel: int, groups: int, stride: int, is_first: bool) -> None:
        super().__init__()
        self.stride, self.is_first = stride, is_first
        self.conv1 = SameConv(channels_in, channels, 1)
        self.conv2 = SameConv(channels, channels, kernel, stride, groups)
        self.conv3 = SameConv(channels, channels, 1)
        self.se_fc1 = nn.Linear(channels, channels // _SQUEEZE)
        self.se_fc2 = nn.Linear(channels // _SQUEEZE, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, C_in, T) to (n, C, ceil(T / stride))."""
        y = self.conv1(x if self.is_first else F.silu(x))
        y = self.conv3(F.silu(self.conv2(F.silu(y))))
        gate = self.se_fc2(F.silu(self.se_fc1(y.mean(dim=2)))).sigmoid()
        if self.stride > 1:  # a last single step is compared with 0
            x = F.max_pool1d(F.pad(x, ((self.stride - 1) // 2, self.stride - 1 - (self.stride - 1) // 2)), self.stride)
        wider = y.shape[1] - x.shape[1]
        shortcut = F.pad(x, (0, 0, wider // 2, wider - wider // 2))
        z: Tensor = y * gate[:, :, None] + shortcut
        return z


class Net1d(nn.Module):
    """The published network without its classifier: a convolution of stride 2 and stages that halve the time.

    Args:
        leads: input channels.
        stem: channels of the first convolution.
        kernel: of the first and of all grouped convolutions.
        widths: channels of each stage.
        blocks: of each stage; the first halves the time.
        group_width: channels of a group.
    """

    def __init__(
        self, leads: int, stem: int, kernel: int, widths: Sequence[int], blocks: Sequence[int], group_width: int
    ) -> None:
        super().__init__()
        self.width = widths[-1]
        self.first_conv = SameConv(leads, stem, kernel, stride=2)
        self.stage_list = nn.ModuleList()
        before = stem
        for width, count in zip(widths, blocks, strict=True):
            stage = nn.Module()
            stage.block_list = nn.ModuleList()
            for number in range(count):
                is_first = not len(self.stage_list) and not number
                stride = 1 if number else 2
                stage.block_list.append(Block(before, width, kernel, width // group_width, stride, is_first))
                before = width
            self.stage_list.append(stage)

    def forward(self, ecg: Tensor) -> Tensor:
        """Maps (n, lead, samples) to (n, time, width); 5000 samples become 20 steps."""
        x = F.silu(self.first_conv(ecg))
        for stage in self.stage_list:
            for block in stage.block_list:  # type: ignore[union-attr]
                x = block(x)
        return x.transpose(1, 2)


class Kind(EncoderKind):
    """ECGFounder's 12-lead weights, `12_lead_ECGFounder.pth`: (n, 12, 5000) at 500 Hz to (n, 20, 1024).

    Input as the authors' own: z-score over the whole ECG, clinical order of leads. The classifier `dense` and the batch
    norms, which the published forward pass leaves out, are not read.
    """

    name = "ecgfounder"
    declared = EncoderInput(500.0, 5000, "ecg", CLINICAL_LEADS)
    wrappers = ("state_dict",)
    not_needed = r"dense\.\w+|first_bn\.\w+|stage_list\.\d+\.block_list\.\d+\.bn[123]\.\w+"

    def config(self, weights: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
        """Reads widths, blocks, kernel and group width off the weights."""
        stages = count_of(weights, r"stage_list\.(\d+)\.")
        blocks = [count_of(weights, rf"stage_list\.{stage}\.block_list\.(\d+)\.") for stage in range(max(stages, 1))]
        grouped = [f"stage_list.{stage}.block_list.0.conv2.conv.weight" for stage in range(max(stages, 1))]
        return {
            "leads": len(self.declared.leads),
            "stem": size_of(weights, "first_conv.conv.weight", 0, path),
            "kernel": size_of(weights, "first_conv.conv.weight", 2, path),
            "widths": [size_of(weights, name, 0, path) for name in grouped],
            "blocks": blocks,
            "group_width": size_of(weights, grouped[0], 1, path),
        }

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """Builds Net1D with random weights."""
        return Net1d(**config)
