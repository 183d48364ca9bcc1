"""ECG-FM: wav2vec 2.0 on 12 leads (McKeen et al., JAMIA Open 2025, arXiv 2408.05178; Baevski et al., NeurIPS 2020).

Modules have the names of the weights that fairseq-signals saves. Shapes: n windows, T time steps, C channels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from echoingecg.student.encoders.kind import CLINICAL_LEADS, EncoderInput, EncoderKind, count_of, size_of

_STRIDE = 2  # of each convolution of the feature extractor
_HEAD_WIDTH = 64  # of the base and of the large model: 768 / 12, 1024 / 16
_POSITION = "conv_pos.pos_conv.0."
_OLD_NAMES = {  # torch's earlier weight norm
    f"{_POSITION}weight_g": f"{_POSITION}parametrizations.weight.original0",
    f"{_POSITION}weight_v": f"{_POSITION}parametrizations.weight.original1",
}


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017, section 3.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // _HEAD_WIDTH
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, T, C) to (n, T, C)."""
        query, key, value = (
            projection(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        y: Tensor = self.out_proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return y


class Layer(nn.Module):
    """Transformer layer with the norms behind the sums; without dropout, as the published fine-tuning."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, T, C) to (n, T, C)."""
        x = self.self_attn_layer_norm(x + self.self_attn(x))
        y: Tensor = self.final_layer_norm(x + self.fc2(F.gelu(self.fc1(x))))
        return y


class Wav2Vec2(nn.Module):
    """The published network without quantiser and projections of the pre-training.

    Args:
        leads: input channels.
        channels: of each convolution of the feature extractor.
        kernels: of each convolution of the feature extractor; its stride is 2.
        width, inner: of the transformer and of its feed-forward layers.
        layers: of the transformer.
        reach: kernel of the convolution that codes positions.
        groups: of that convolution.
    """

    def __init__(
        self,
        leads: int,
        channels: Sequence[int],
        kernels: Sequence[int],
        width: int,
        inner: int,
        layers: int,
        reach: int,
        groups: int,
    ) -> None:
        super().__init__()
        self.width = width
        self.feature_extractor = nn.Module()
        self.feature_extractor.conv_layers = nn.ModuleList()
        before = leads
        for number, (after, kernel) in enumerate(zip(channels, kernels, strict=True)):
            norm = (nn.Identity(), nn.GroupNorm(after, after)) if number == 0 else (nn.Identity(),)
            convolution = nn.Conv1d(before, after, kernel, _STRIDE, bias=False)
            self.feature_extractor.conv_layers.append(nn.Sequential(convolution, *norm, nn.GELU()))
            before = after
        self.layer_norm = nn.LayerNorm(before)
        self.post_extract_proj = nn.Linear(before, width)
        self.conv_pos = nn.Module()
        position = weight_norm(nn.Conv1d(width, width, reach, padding=reach // 2, groups=groups), dim=2)
        self.conv_pos.pos_conv = nn.Sequential(position, nn.GELU())
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList(Layer(width, inner) for _ in range(layers))
        self.encoder.layer_norm = nn.LayerNorm(width)

    def forward(self, ecg: Tensor) -> Tensor:
        """Maps (n, lead, samples) to (n, time, width); 2500 samples become 156 steps."""
        x = ecg
        for layer in self.feature_extractor.conv_layers:  # type: ignore[union-attr]
            x = layer(x)
        x = self.post_extract_proj(self.layer_norm(x.transpose(1, 2)))
        position = self.conv_pos.pos_conv(x.transpose(1, 2))[:, :, : x.shape[1]]  # type: ignore[operator]
        x = self.encoder.layer_norm(x + position.transpose(1, 2))  # type: ignore[operator]
        for layer in self.encoder.layers:  # type: ignore[union-attr]
            x = layer(x)
        return x


class Kind(EncoderKind):
    """ECG-FM's pretrained weights, of fairseq-signals' `wav2vec2_cmsc`: (n, 12, 2500) at 500 Hz to (n, 156, 768).

    Input as the authors' own: each lead's z-score over the whole ECG, clinical order of leads, windows of 5 s. Mask,
    quantiser and projections of the pre-training are not read.
    """

    name = "ecg-fm"
    declared = EncoderInput(500.0, 2500, "lead", CLINICAL_LEADS)
    wrappers = ("model",)
    not_needed = r"mask_emb|(quantizer|project_q|final_proj)\..*"

    def renamed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives the weight norm its newer names."""
        return {_OLD_NAMES.get(name, name): value for name, value in weights.items()}

    def config(self, weights: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
        """Reads the sizes off the weights; a head is 64 wide."""
        extractor = "feature_extractor.conv_layers"
        names = [f"{extractor}.{number}.0.weight" for number in range(count_of(weights, rf"{extractor}\.(\d+)\.") or 1)]
        position = f"{_POSITION}parametrizations.weight.original1"
        width = size_of(weights, "post_extract_proj.weight", 0, path)
        return {
            "leads": len(self.declared.leads),
            "channels": [size_of(weights, name, 0, path) for name in names],
            "kernels": [size_of(weights, name, 2, path) for name in names],
            "width": width,
            "inner": size_of(weights, "encoder.layers.0.fc1.weight", 0, path),
            "layers": count_of(weights, r"encoder\.layers\.(\d+)\."),
            "reach": size_of(weights, position, 2, path),
            "groups": max(width // max(size_of(weights, position, 1, path), 1), 1),
        }

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """Builds the network with random weights."""
        return Wav2Vec2(**config)
