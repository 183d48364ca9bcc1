"""Gaussian heads, which both towers share: the features of a sequence in, one diagonal Gaussian out.

The pooling over time is the generalised pooling operator (GPO: Chen et al., CVPR 2021): learned weights over sorted
features. Shapes: B sequences, T time steps, D channels; P operators, L distinct lengths; 2P gated recurrent units
(GRU), the forward and the backward half of each operator, of width H.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURE = 0.1  # of the softmax over ranks
# Log-variances that begin at a chosen value should differ little between channels and inputs, but still depend on
# the input: a tenth of the default weights leaves a spread of about 0.05 nats.
START_SHRINK = 0.1


class GaussianTensor(NamedTuple):
    """Diagonal Gaussians, one in each row: N(mean, diag(exp(log_var))).

    Attributes:
        mean: (B, D), unit length.
        log_var: (B, D), natural logarithm of the variance.
    """

    mean: Tensor
    log_var: Tensor

    def float(self) -> "GaussianTensor":
        """Converts both tensors to float32; under autocast they may be bfloat16."""
        return GaussianTensor(self.mean.float(), self.log_var.float())

    def rows(self, which: Tensor) -> "GaussianTensor":
        """Selects Gaussians by row numbers."""
        return GaussianTensor(self.mean[which], self.log_var[which])


def pair_distance(a: GaussianTensor, b: GaussianTensor, variances: bool = True) -> Tensor:
    """Computes the closed-form sampled distance of every a to every b (Chun, ICLR 2024, eq. 1).

    d = ||mean_a - mean_b||² + sum exp(log_var_a) + sum exp(log_var_b). The squared norm is expanded
    into a matrix product and the variances into two vectors: O(A B) memory, where the formula as
    written holds (A, B, D) tensors. The computation is in float32 also under autocast: bfloat16 has three digits.

    Args:
        a: A Gaussians.
        b: B Gaussians.
        variances: False leaves the variances out and gives the squared distance of the means.

    Returns:
        (A, B) float32.
    """
    with torch.autocast(a.mean.device.type, enabled=False):
        a, b = a.float(), b.float()
        return torch.addmm(own_distance(a, variances)[:, None] + own_distance(b, variances), a.mean, b.mean.T, alpha=-2)


def own_distance(gaussian: GaussianTensor, variances: bool = True) -> Tensor:
    """Computes the part of each distance that depends on one side alone, (B,): ||mean||² + sum exp(log_var)."""
    norm = gaussian.mean.square().sum(1)
    return norm + gaussian.log_var.exp().sum(1) if variances else norm


class GeneralisedPooling(nn.Module):
    """Parameters of one pooling operator, under the names of the released weights.

    A bidirectional GRU turns position codes into one weight for each rank. It sees no feature, so the weights
    depend on the length only. `rank_weights` runs the GRU.

    Args:
        width: of the position code and of the GRU's hidden state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(width, 1, bias=False)

    def halves(self, name: str) -> list[Tensor]:
        """Returns one parameter of the GRU for the forward and the backward half."""
        return [getattr(self.gru, name), getattr(self.gru, f"{name}_reverse")]


class GaussianHeads(nn.Module):
    """Two heads: linear layer and GPO to the unit-length mean, and the same to the log-variance.

    The module names are those of the released weights, where the log-variance is called `std`.

    Args:
        width: channels of the features.
        embed_dim: D, width of the shared space.
        gpo_dim: width of the pooling operators.
    """

    def __init__(self, width: int, embed_dim: int, gpo_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, embed_dim)
        self.gpool = GeneralisedPooling(gpo_dim)
        self.std_linear = nn.Linear(width, embed_dim)
        self.std_gpool = GeneralisedPooling(gpo_dim)

    def start_log_var(self, start: float) -> None:
        """Makes log-variances begin near `start`: sets their bias to it and shrinks their weights to a tenth."""
        with torch.no_grad():
            self.std_linear.bias.fill_(start)
            self.std_linear.weight.mul_(START_SHRINK)

    def pool(self, features: Tensor, lengths: Tensor | None = None) -> GaussianTensor:
        """Pools each sequence to one Gaussian.

        Args:
            features: (B, T, width).
            lengths: (B,) int64; None if every sequence fills T.
        """
        mean, log_var = self.linear(features), self.std_linear(features)
        with torch.autocast(features.device.type, enabled=False):
            mean_weights, log_var_weights = self._weights(features, lengths)
            mean = pool(mean.float(), mean_weights, lengths)
            log_var = pool(log_var.float(), log_var_weights, lengths)
            return GaussianTensor(F.normalize(mean, dim=1), log_var)

    def _weights(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """Computes the rank weights of mean and log-variance, (2, B or 1, T); each distinct length once."""
        operators = [self.gpool, self.std_gpool]
        if lengths is None:
            return rank_weights(operators, torch.tensor([features.shape[1]], device=features.device))
        distinct, which = lengths.unique(return_inverse=True)
        weights = rank_weights(operators, distinct)[:, which]
        return F.pad(weights, (0, features.shape[1] - weights.shape[2]))


def rank_weights(operators: Sequence[GeneralisedPooling], lengths: Tensor) -> Tensor:
    """Computes the weight of each rank, for several operators of one width and several lengths at once.

    Args:
        operators: P operators.
        lengths: (L,) int64, at least 1.

    Returns:
        (P, L, max(lengths)) float32; each row sums to 1, ranks beyond the length have weight 0.
    """
    position = torch.arange(int(lengths.max()), device=lengths.device)
    forward, backward = _states(operators, lengths, position)
    scorer = torch.stack([operator.linear.weight[0] for operator in operators])
    score = torch.einsum("plth,ph->plt", (forward + backward) / 2, scorer)
    return torch.softmax(score.masked_fill(position >= lengths[:, None], -math.inf) / TEMPERATURE, dim=2)


def pool(features: Tensor, weights: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Sorts each channel over time, largest first, and returns the weighted sum.

    Args:
        features: (B, T, D).
        weights: (B or 1, T), one for each rank.
        lengths: (B,) int64 in 1..T, time steps beyond are padding; None if there is no padding.

    Returns:
        (B, D).
    """
    if lengths is None:
        return torch.einsum("btd,bt->bd", _ranked(features), weights.expand(len(features), -1))
    padding = (torch.arange(features.shape[1], device=features.device) >= lengths[:, None])[:, :, None]
    ranked = _ranked(features.masked_fill(padding, -math.inf))
    # Padding stands last after the sort. Its weight is 0, but 0 times -inf would be NaN.
    return torch.einsum("btd,bt->bd", ranked.masked_fill(padding, 0.0), weights)


def _ranked(features: Tensor) -> Tensor:
    """Sorts each channel over time, largest first, (B, T, D)."""
    if features.device.type != "cpu" or features.requires_grad:
        return features.sort(dim=1, descending=True).values
    return torch.from_numpy(np.sort(features.numpy(), axis=1)).flip(1)  # torch takes ten times as long on a CPU


def position_code(length: int, width: int, device: torch.device) -> Tensor:
    """Computes the sinusoidal position code (Vaswani et al., 2017, section 3.5).

    Returns:
        (length, width) float32 in [-1, 1]; sine in even columns, cosine in odd columns.
    """
    position = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angle = position * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]


def _states(operators: Sequence[GeneralisedPooling], lengths: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Computes the hidden states of the forward and of the backward halves, each (P, L, T, H).

    All 2P recurrences advance together: the small encoders of the demo would otherwise spend most of
    a training step in nn.GRU, which runs one half of one operator after another.
    """

    def stacked(name: str) -> Tensor:
        return torch.stack([half for operator in operators for half in operator.halves(name)])

    code = position_code(len(position), operators[0].gru.input_size, lengths.device)
    # The backward half reads each length from its own end; states beyond the length are not used.
    mirrored = (lengths[:, None] - 1 - position).clamp(min=0)
    order = torch.stack([position.expand_as(mirrored), mirrored]).repeat(len(operators), 1, 1)
    inputs = torch.einsum("tw,sgw->stg", code, stacked("weight_ih_l0")) + stacked("bias_ih_l0")[:, None]
    inputs = inputs[torch.arange(len(inputs), device=code.device)[:, None, None], order]
    states = _recurrence(inputs, stacked("weight_hh_l0"), stacked("bias_hh_l0")).unflatten(0, (-1, 2))
    forward, backward = states.unbind(1)
    return forward, backward.gather(2, mirrored[None, :, :, None].expand_as(backward))


def _recurrence(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Runs S gated recurrent units side by side (Cho et al., 2014, in the form of torch.nn.GRU).

    Args:
        inputs: (S, L, T, 3H), the input's part of the reset, update and new gate.
        weight: (S, 3H, H), recurrent weights.
        bias: (S, 3H), recurrent biases.

    Returns:
        (S, L, T, H), the hidden states.
    """
    width = weight.shape[2]
    hidden = inputs.new_zeros(*inputs.shape[:2], width)
    transposed, bias = weight.transpose(1, 2), bias[:, None]
    states = []
    for step in inputs.unbind(2):
        recurrent = torch.baddbmm(bias, hidden, transposed)
        gate_in, new_in = step.split([2 * width, width], dim=2)
        gate, new = recurrent.split([2 * width, width], dim=2)
        reset, update = torch.sigmoid(gate_in + gate).chunk(2, dim=2)
        hidden = torch.lerp(torch.tanh(new_in + reset * new), hidden, update)
        states.append(hidden)
    return torch.stack(states, dim=2)
