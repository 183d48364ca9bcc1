"""The published layouts of pretrained ECG encoders as lists of names and shapes, written from their publications.

They come from the authors' configurations, not from this project's networks. `random_weights` fills them.
"""

from collections.abc import Iterator

import numpy as np
import torch

Shapes = dict[str, tuple[int, ...]]


def norm(name: str, width: int, running: bool = False) -> Shapes:
    shapes: Shapes = {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    if running:
        shapes |= {f"{name}.running_mean": (width,), f"{name}.running_var": (width,), f"{name}.num_batches_tracked": ()}
    return shapes


def layer(name: str, *shape: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if bias else {})


def ecgfounder(
    stem: int = 64,
    widths: tuple[int, ...] = (64, 160, 160, 400, 400, 1024, 1024),
    blocks: tuple[int, ...] = (2, 2, 2, 3, 3, 4, 4),
    kernel: int = 16,
    group: int = 16,
    classes: int = 150,
) -> Shapes:
    """Net1D as `12_lead_ECGFounder.pth` has it under 'state_dict'."""
    shapes = layer("first_conv.conv", stem, 12, kernel) | norm("first_bn", stem, running=True)
    before = stem
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        for block in range(count):
            place = f"stage_list.{stage}.block_list.{block}"
            shapes |= norm(f"{place}.bn1", before, running=True) | layer(f"{place}.conv1.conv", width, before, 1)
            shapes |= norm(f"{place}.bn2", width, running=True) | layer(f"{place}.conv2.conv", width, group, kernel)
            shapes |= norm(f"{place}.bn3", width, running=True) | layer(f"{place}.conv3.conv", width, width, 1)
            shapes |= layer(f"{place}.se_fc1", width // 2, width) | layer(f"{place}.se_fc2", width, width // 2)
            before = width
    return shapes | layer("dense", classes, before)


def merl(stem: int = 64, blocks: tuple[int, ...] = (2, 2, 2, 2)) -> Shapes:
    """MERL's ResNet as `*_encoder.pth` has it."""
    shapes = layer("conv1", stem, 12, 7, bias=False) | norm("bn1", stem, running=True)
    before = stem
    for stage, count in enumerate(blocks):
        width = stem * 2**stage
        for block in range(count):
            place = f"layer{stage + 1}.{block}"
            shapes |= layer(f"{place}.conv1", width, before, 3, bias=False) | norm(f"{place}.bn1", width, running=True)
            shapes |= layer(f"{place}.conv2", width, width, 3, bias=False) | norm(f"{place}.bn2", width, running=True)
            if before != width:
                shapes |= layer(f"{place}.shortcut.0", width, before, 1, bias=False)
                shapes |= norm(f"{place}.shortcut.1", width, running=True)
            before = width
    return shapes | layer("linear", 10, before)


def merl_whole(stem: int, blocks: tuple[int, ...]) -> Shapes:
    """The whole model, `*_ckpt.pth`: the encoder under a prefix, and some of what stands beside it."""
    beside = layer("downconv", 16, 8 * stem, 1) | {"att_pool_head.cls_token": (1, 1, 16)}
    beside |= layer("att_pool_head.c_proj", 16, 16) | layer("linear1", 16, 16, bias=False)
    beside |= layer("lm_model.embeddings.LayerNorm", 8) | layer("proj_t.0", 16, 8)
    return {f"ecg_encoder.{name}": shape for name, shape in merl(stem, blocks).items()} | beside


def ecg_fm(
    channels: int = 256, width: int = 768, inner: int = 3072, layers: int = 12, reach: int = 128, groups: int = 16
) -> Shapes:
    """The whole `wav2vec2_cmsc` as `mimic_iv_ecg_physionet_pretrained.pt` has it under 'model'."""
    latent, final = 2 * 320, 256
    shapes: Shapes = {"mask_emb": (width,)}
    for number in range(layers):
        place = f"encoder.layers.{number}"
        for projection in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= layer(f"{place}.self_attn.{projection}", width, width)
        shapes |= norm(f"{place}.self_attn_layer_norm", width) | layer(f"{place}.fc1", inner, width)
        shapes |= layer(f"{place}.fc2", width, inner) | norm(f"{place}.final_layer_norm", width)
    shapes |= norm("encoder.layer_norm", width)
    for number in range(4):
        name = f"feature_extractor.conv_layers.{number}"
        shapes |= layer(f"{name}.0", channels, 12 if number == 0 else channels, 2, bias=False)
    shapes |= norm("feature_extractor.conv_layers.0.2", channels) | layer("post_extract_proj", width, channels)
    shapes |= weight_norm("conv_pos.pos_conv.0", width, groups, reach) | norm("layer_norm", channels)
    shapes |= {"quantizer.vars": (1, latent, final // 2)} | layer("quantizer.weight_proj", latent, channels)
    return shapes | layer("project_q", final, final) | layer("final_proj", final, width)


def weight_norm(name: str, width: int, groups: int, reach: int) -> Shapes:
    scale = f"{name}.parametrizations.weight.original"
    return {f"{name}.bias": (width,), f"{scale}0": (1, 1, reach), f"{scale}1": (width, width // groups, reach)}


HUBERT_BASE = {  # config.json of hubert-ecg-small, with the base model's sizes
    "activation_dropout": 0.1, "apply_spec_augment": True, "architectures": ["HuBERTECG"], "attention_dropout": 0.1,
    "auto_map": {"AutoConfig": "hubert_ecg.HuBERTECGConfig", "AutoModel": "hubert_ecg.HuBERTECG"},
    "classifier_proj_size": 256, "conv_bias": False, "conv_dim": [512] * 5, "conv_kernel": [10, 3, 3, 2, 2],
    "conv_stride": [4, 2, 2, 2, 2], "do_stable_layer_norm": False, "ensemble_length": 1,
    "feat_extract_activation": "gelu", "feat_extract_norm": "group", "feat_proj_dropout": 0.0,
    "feat_proj_layer_norm": True, "final_dropout": 0.1, "hidden_act": "gelu", "hidden_dropout": 0.1, "hidden_size": 768,
    "intermediate_size": 3072, "layer_norm_eps": 1e-05, "layerdrop": 0.1, "mask_time_length": 1, "mask_time_prob": 0.33,
    "model_type": "hubert_ecg", "num_attention_heads": 12, "num_conv_pos_embedding_groups": 16,
    "num_conv_pos_embeddings": 128, "num_feat_extract_layers": 5, "num_hidden_layers": 12, "vocab_sizes": [100],
}  # fmt: skip


def hubert_ecg(config: dict[str, object]) -> Shapes:
    """HuBERT-ECG as its `model.safetensors` has it; the newer names of the weight norm."""
    width, inner, channels = int(config["hidden_size"]), int(config["intermediate_size"]), int(config["conv_dim"][0])
    shapes: Shapes = {"masked_spec_embed": (width,)}
    before = 1
    for number, kernel in enumerate(config["conv_kernel"]):
        shapes |= layer(f"feature_extractor.conv_layers.{number}.conv", channels, before, kernel, bias=False)
        before = channels
    shapes |= norm("feature_extractor.conv_layers.0.layer_norm", channels)
    shapes |= norm("feature_projection.layer_norm", channels)
    shapes |= layer("feature_projection.projection", width, channels) | norm("encoder.layer_norm", width)
    groups, reach = int(config["num_conv_pos_embedding_groups"]), int(config["num_conv_pos_embeddings"])
    shapes |= weight_norm("encoder.pos_conv_embed.conv", width, groups, reach)
    for number in range(int(config["num_hidden_layers"])):
        place = f"encoder.layers.{number}"
        for projection in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= layer(f"{place}.attention.{projection}", width, width)
        shapes |= norm(f"{place}.layer_norm", width) | norm(f"{place}.final_layer_norm", width)
        shapes |= layer(f"{place}.feed_forward.intermediate_dense", inner, width)
        shapes |= layer(f"{place}.feed_forward.output_dense", width, inner)
    projected = int(config["classifier_proj_size"])
    return shapes | layer("final_proj.0", projected, width) | {"label_embedding.0.weight": (100, projected)}


def random_weights(shapes: Shapes, seed: int = 0) -> dict[str, torch.Tensor]:
    """Draws weights that keep the size of what passes through them: norms near 1, layers by their inputs."""
    random = np.random.default_rng(seed)

    def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray | int:
        if name.endswith("num_batches_tracked"):
            return 7
        if name.endswith("running_var") or (len(shape) == 1 and name.endswith("weight")):
            return random.uniform(0.5, 1.5, shape)
        if name.endswith("original0"):
            return random.uniform(0.5, 1.5, shape)
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 25
        return random.normal(0, 1.3 / np.sqrt(fan), shape)

    return {name: torch.as_tensor(drawn(name, shape)).float() for name, shape in sorted(shapes.items())}


def older_weight_norm(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns weights with each weight norm under the names that torch gave it before `parametrizations`."""

    def renamed() -> Iterator[tuple[str, torch.Tensor]]:
        for name, value in weights.items():
            older = name.replace("parametrizations.weight.original0", "weight_g")
            yield older.replace("parametrizations.weight.original1", "weight_v"), value

    return dict(renamed())
