"""HuBERT-ECG: transformers' HuBERT on the leads of an ECG, one behind another (Coppola et al., medRxiv 2024.11.14).

Its weights lie in a folder with `config.json`; no code of that folder is run.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from echoingecg.common import UserError
from echoingecg.student.encoders.kind import CLINICAL_LEADS, CONFIG, EncoderInput, EncoderKind

_SIZES = (  # of config.json: what the network is made of; how the pre-training masked it is left out
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "hidden_dropout",
    "activation_dropout", "attention_dropout", "feat_proj_layer_norm", "feat_proj_dropout", "layer_norm_eps",
    "feat_extract_norm", "feat_extract_activation", "conv_dim", "conv_stride", "conv_kernel", "conv_bias",
    "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "do_stable_layer_norm",
)  # fmt: skip
_NO_MASKS = {"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}
_POSITION = "encoder.pos_conv_embed.conv."
_OLD_NAMES = {  # torch's earlier weight norm
    f"{_POSITION}weight_g": f"{_POSITION}parametrizations.weight.original0",
    f"{_POSITION}weight_v": f"{_POSITION}parametrizations.weight.original1",
}


class Flattened(nn.Module):
    """HuBERT behind a flattening: the leads of an ECG, one behind another, are its one input channel.

    Args:
        config: of transformers' HubertConfig.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        from transformers import HubertConfig, HubertModel

        super().__init__()
        self.hubert = HubertModel(HubertConfig(**config, **_NO_MASKS))
        self.width = int(config["hidden_size"])

    def forward(self, ecg: Tensor) -> Tensor:
        """Maps (n, lead, samples) to (n, time, width); 12 leads of 500 samples become 93 steps."""
        features: Tensor = self.hubert(ecg.flatten(1)).last_hidden_state
        return features


class Kind(EncoderKind):
    """HuBERT-ECG's weights with their config.json: (n, 12, 500) at 100 Hz to (n, 93, 768) in the base size.

    Input as the authors' own: each lead scaled to -1 to 1 over the whole ECG, windows of 5 s. The mask and the
    projections of the pre-training are not read, and nothing is masked in training.
    """

    name = "hubert-ecg"
    declared = EncoderInput(100.0, 500, "lead_range", CLINICAL_LEADS)
    prefix = "hubert."
    wrappers = ("model_state_dict",)
    not_needed = r"masked_spec_embed|(final_proj|label_embedding)\..*"

    def renamed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives the weight norm its newer names."""
        return {_OLD_NAMES.get(name, name): value for name, value in weights.items()}

    def config(self, weights: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
        """Reads the sizes from config.json beside the weights. Raises UserError where it is missing or states none."""
        place = path.parent / CONFIG
        try:
            stated = json.loads(place.read_bytes())
            return {name: stated[name] for name in _SIZES}
        except (OSError, ValueError, KeyError, TypeError) as fault:
            raise UserError(
                f"student.encoder '{self.name}': {place} must stand beside the weights and state the sizes of a HuBERT "
                f"({type(fault).__name__}: {fault})"
            ) from fault

    def build(self, config: Mapping[str, Any]) -> nn.Module:
        """Builds HuBERT with random weights. Raises UserError where transformers is not installed."""
        try:
            return Flattened(config)
        except ImportError as fault:
            raise UserError(f"student.encoder '{self.name}' needs pip install 'echoingecg[teacher]'") from fault
