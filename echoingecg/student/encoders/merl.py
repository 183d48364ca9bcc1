"""MERL: a 1-D residual net that learned with ECG reports (Liu et al., ICML 2024, arXiv 2403.06659).

Its block, stem and strides are those of the paper's encoder, with other widths. MERL's attention pooling is left out:
the student's own heads pool the sequence.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from data_contracts.conventions import LEADS
from echoingecg.student.encoders.kind import EncoderInput, EncoderKind, count_of, size_of
from echoingecg.student.model.student import add_residual_net, residual_features

_STAGES = range(1, 5)
_FACTORS = (1, 2, 4, 8)  # width of each stage as a multiple of the stem's
_WHOLE = "ecg_encoder."  # of the ECG encoder in files that hold the whole model


class ResidualNet(nn.Module):
    """The published network without its classifier: conv7-BN-ReLU and four stages of basic blocks.

    Args:
        stem: channels of the first convolution.
        blocks: of each stage; 2, 2, 2, 2 in ResNet-18 and 3, 4, 6, 3 in ResNet-34.
    """

    def __init__(self, stem: int, blocks: list[int]) -> None:
        super().__init__()
        widths = [stem, *(stem * factor for factor in _FACTORS)]
        self.width = widths[-1]
        self.stages = add_residual_net(self, widths, blocks)

    def forward(self, ecg: Tensor) -> Tensor:
        """Maps (n, lead, samples) to (n, time, width); 5000 samples become 313 steps."""
        return residual_features(self, self.stages, ecg)


class Kind(EncoderKind):
    """MERL's ResNet weights, of the encoder alone or of the whole model: (n, 12, 5000) at 500 Hz to (n, 313, 512).

    Input as the authors' own: each ECG scaled to 0 to 1, leads in MIMIC-IV-ECG's order, as it was trained. The
    classifier `linear` and, in files of the whole model, projections, pooling and text encoder are not read.
    """

    name = "merl"
    declared = EncoderInput(500.0, 5000, "ecg_range", LEADS)
    not_needed = r"(ecg_encoder\.)?linear\.\w+|(downconv|att_pool_head|linear1|linear2|lm_model|proj_t)\..*"

    def renamed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leaves the encoder's prefix out, where all names have it."""
        is_whole = all(name.startswith(_WHOLE) for name in weights)
        return {name.removeprefix(_WHOLE): value for name, value in weights.items()} if is_whole else weights

    def config(self, weights: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
        """Reads the stem's width and the number of blocks off the weights."""
        blocks = [count_of(weights, rf"layer{stage}\.(\d+)\.") for stage in _STAGES]
        return {"stem": size_of(weights, "conv1.weight", 0, path), "blocks": blocks}

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """Builds the residual net with random weights."""
        return ResidualNet(**config)
