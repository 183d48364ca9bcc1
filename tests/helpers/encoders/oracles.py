"""Pretrained ECG encoders once more, slowly: one ECG, float64, NumPy, straight from the published equations.

Nothing here is this project's, torch's or transformers' code: weights come in by their published names.
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import erf, expit

Array = np.ndarray
Weights = Mapping[str, Array]


def convolution(
    x: Array, weight: Array, bias: Array | None = None, stride: int = 1, pad: tuple[int, int] = (0, 0), groups: int = 1
) -> Array:
    """x (C_in, T), weight (C, C_in / groups, K)."""
    padded = np.pad(x, ((0, 0), pad))
    kernel = weight.shape[2]
    steps = range(0, padded.shape[1] - kernel + 1, stride)
    taken, made = x.shape[0] // groups, weight.shape[0] // groups
    out = np.empty((weight.shape[0], len(steps)))
    for group in range(groups):
        inputs = padded[group * taken : (group + 1) * taken]
        filters = weight[group * made : (group + 1) * made].reshape(made, -1)
        for place, start in enumerate(steps):
            out[group * made : (group + 1) * made, place] = filters @ inputs[:, start : start + kernel].reshape(-1)
    return out if bias is None else out + bias[:, None]


def batch_norm(x: Array, weights: Weights, name: str) -> Array:
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    scaled = (x - mean[:, None]) / np.sqrt(variance[:, None] + 1e-5)
    return scaled * weights[f"{name}.weight"][:, None] + weights[f"{name}.bias"][:, None]


def layer_norm(x: Array, weights: Weights, name: str) -> Array:
    """x (T, C), over C."""
    centred = x - x.mean(1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def each_channel_norm(x: Array, weights: Weights, name: str) -> Array:
    """Group norm with as many groups as channels, x (C, T), over T."""
    centred = x - x.mean(1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    return scaled * weights[f"{name}.weight"][:, None] + weights[f"{name}.bias"][:, None]


def linear(x: Array, weights: Weights, name: str) -> Array:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x: Array) -> Array:
    return x * (1 + erf(x / np.sqrt(2))) / 2


def swish(x: Array) -> Array:
    return x * expit(x)


def attention(x: Array, weights: Weights, name: str, heads: int) -> Array:
    """x (T, C)."""
    query, key, value = (linear(x, weights, f"{name}.{which}_proj") for which in "qkv")
    width = x.shape[1] // heads
    mixed = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        score = query[:, part] @ key[:, part].T / np.sqrt(width)
        share = np.exp(score - score.max(1, keepdims=True))
        mixed.append(share / share.sum(1, keepdims=True) @ value[:, part])
    return linear(np.concatenate(mixed, axis=1), weights, f"{name}.out_proj")


def normed_weight(weights: Weights, name: str) -> Array:
    """Weight norm over each place of the kernel (Salimans and Kingma, 2016): g v / ||v||."""
    scale, direction = (weights[f"{name}.parametrizations.weight.original{number}"] for number in (0, 1))
    return scale * direction / np.sqrt((direction**2).sum((0, 1), keepdims=True))


def position_code(x: Array, weights: Weights, name: str, groups: int) -> Array:
    """x (T, C): a wide grouped convolution over time; an even kernel gives one step too many, the last."""
    kernel = normed_weight(weights, name)
    half = kernel.shape[2] // 2
    return gelu(convolution(x.T, kernel, weights[f"{name}.bias"], pad=(half, half), groups=groups)[:, : len(x)]).T


def ecgfounder(x: Array, weights: Weights, blocks: tuple[int, ...], group: int) -> Array:
    """Features before the mean over time, (T, C), of an ECG (12, samples)."""

    def same(y: Array, name: str, stride: int = 1, groups: int = 1) -> Array:
        weight = weights[f"{name}.conv.weight"]
        needed = (-(-y.shape[1] // stride) - 1) * stride + weight.shape[2] - y.shape[1]
        pad = (max(needed, 0) // 2, max(needed, 0) - max(needed, 0) // 2)
        return convolution(y, weight, weights[f"{name}.conv.bias"], stride, pad, groups)

    x = swish(same(x, "first_conv", stride=2))
    for stage, count in enumerate(blocks):
        for block in range(count):
            place, stride = f"stage_list.{stage}.block_list.{block}", 1 if block else 2
            y = x if stage == block == 0 else swish(x)
            y = swish(same(y, f"{place}.conv1"))
            y = swish(same(y, f"{place}.conv2", stride, groups=len(y) // group))
            y = same(y, f"{place}.conv3")
            gate = linear(swish(linear(y.mean(1), weights, f"{place}.se_fc1")), weights, f"{place}.se_fc2")
            y = y * expit(gate)[:, None]
            if stride == 2:
                padded = np.pad(x, ((0, 0), (0, 1)))
                x = np.stack([padded[:, k : k + 2].max(1) for k in range(0, padded.shape[1] - 1, 2)], axis=1)
            first = (len(y) - len(x)) // 2
            shortcut = np.zeros_like(y)
            shortcut[first : first + len(x)] = x
            x = y + shortcut
    return x.T


def merl(x: Array, weights: Weights, blocks: tuple[int, ...]) -> Array:
    """The sequence before MERL's attention pooling, (T, C), of an ECG (12, samples)."""

    def relu(y: Array) -> Array:
        return np.maximum(y, 0)

    x = relu(batch_norm(convolution(x, weights["conv1.weight"], stride=2, pad=(3, 3)), weights, "bn1"))
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            place, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = convolution(x, weights[f"{place}.conv1.weight"], stride=stride, pad=(1, 1))
            y = convolution(relu(batch_norm(y, weights, f"{place}.bn1")), weights[f"{place}.conv2.weight"], pad=(1, 1))
            if f"{place}.shortcut.0.weight" in weights:
                x = convolution(x, weights[f"{place}.shortcut.0.weight"], stride=stride)
                x = batch_norm(x, weights, f"{place}.shortcut.1")
            x = relu(batch_norm(y, weights, f"{place}.bn2") + x)
    return x.T


def ecg_fm(x: Array, weights: Weights, layers: int, heads: int, groups: int) -> Array:
    """The transformer's output, (T, C), of a window (12, samples)."""
    for number in range(4):
        x = convolution(x, weights[f"feature_extractor.conv_layers.{number}.0.weight"], stride=2)
        x = gelu(each_channel_norm(x, weights, "feature_extractor.conv_layers.0.2") if number == 0 else x)
    y = linear(layer_norm(x.T, weights, "layer_norm"), weights, "post_extract_proj")
    y = layer_norm(y + position_code(y, weights, "conv_pos.pos_conv.0", groups), weights, "encoder.layer_norm")
    for number in range(layers):
        place = f"encoder.layers.{number}"
        y = layer_norm(y + attention(y, weights, f"{place}.self_attn", heads), weights, f"{place}.self_attn_layer_norm")
        inner = linear(gelu(linear(y, weights, f"{place}.fc1")), weights, f"{place}.fc2")
        y = layer_norm(y + inner, weights, f"{place}.final_layer_norm")
    return y


def hubert_ecg(x: Array, weights: Weights, config: Mapping[str, object]) -> Array:
    """The transformer's output, (T, C), of a window (12, samples): its leads, one behind another, are one channel."""
    y = x.reshape(1, -1)
    for number, stride in enumerate(config["conv_stride"]):
        y = convolution(y, weights[f"feature_extractor.conv_layers.{number}.conv.weight"], stride=stride)
        y = gelu(each_channel_norm(y, weights, "feature_extractor.conv_layers.0.layer_norm") if number == 0 else y)
    z = linear(layer_norm(y.T, weights, "feature_projection.layer_norm"), weights, "feature_projection.projection")
    code = position_code(z, weights, "encoder.pos_conv_embed.conv", int(config["num_conv_pos_embedding_groups"]))
    z = layer_norm(z + code, weights, "encoder.layer_norm")
    for number in range(int(config["num_hidden_layers"])):
        place = f"encoder.layers.{number}"
        mixed = attention(z, weights, f"{place}.attention", int(config["num_attention_heads"]))
        z = layer_norm(z + mixed, weights, f"{place}.layer_norm")
        inner = gelu(linear(z, weights, f"{place}.feed_forward.intermediate_dense"))
        z = layer_norm(
            z + linear(inner, weights, f"{place}.feed_forward.output_dense"), weights, f"{place}.final_layer_norm"
        )
    return z
