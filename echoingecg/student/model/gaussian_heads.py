"""Generalised pooling operator (Chen et al., CVPR 2021): learned weights over sorted features.

Shapes: B sequences, T time steps, D channels; P operators, L distinct lengths; 2P gated recurrent
units (GRU), the forward and the backward half of each operator, of width H.

Diagonal Gaussians in the shared embedding space, and the distance between two of them.

The two heads that both towers share: features of a sequence in, one Gaussian out.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

TEMPERATURE = 0.1


class GeneralisedPooling(nn.Module):
    """The parameters of one operator, under the released weights' names.

    A bidirectional GRU turns position codes into one weight a rank. It sees no feature: the weights
    depend on the length only (see `rank_weights`, which runs it).

    Args:
        width: of the position code and of the GRU's hidden state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(width, 1, bias=False)

    def halves(self, name: str) -> list[Tensor]:
        """One parameter of the GRU, for the forward and the backward half."""
        return [getattr(self.gru, name), getattr(self.gru, f"{name}_reverse")]


def rank_weights(operators: Sequence[GeneralisedPooling], lengths: Tensor) -> Tensor:
    """Weight of each rank, for several operators of one width and several lengths at once.

    Args:
        operators: P of them.
        lengths: (L,) int64, at least 1.

    Returns:
        (P, L, max(lengths)) float32; rows sum to 1, ranks beyond the length weigh 0.
    """
    position = torch.arange(int(lengths.max()), device=lengths.device)
    forward, backward = _states(operators, lengths, position)
    scorer = torch.stack([one.linear.weight[0] for one in operators])
    score = torch.einsum("plth,ph->plt", (forward + backward) / 2, scorer)
    return torch.softmax(score.masked_fill(position >= lengths[:, None], -math.inf) / TEMPERATURE, dim=2)


def pool(features: Tensor, weights: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Sorts each channel over time, largest first, and sums with the weights.

    Args:
        features: (B, T, D).
        weights: (B or 1, T) for the ranks.
        lengths: (B,) int64 in 1..T, what lies beyond is padding; None when there is none.

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
    """Each channel sorted over time, largest first, (B, T, D)."""
    if features.device.type != "cpu" or features.requires_grad:
        return features.sort(dim=1, descending=True).values
    return torch.from_numpy(np.sort(features.numpy(), axis=1)).flip(1)  # torch takes ten times as long on a CPU


def position_code(length: int, width: int, device: torch.device) -> Tensor:
    """Sinusoidal position code (Vaswani et al., 2017, section 3.5): sine in even, cosine in odd columns.

    Returns:
        (length, width) float32 in [-1, 1].
    """
    position = torch.arange(length, device=device, dtype=torch.float32)[:, None]
    frequency = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10_000.0) / width))
    angle = position * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :width]


def _states(operators: Sequence[GeneralisedPooling], lengths: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states of the forward and of the backward halves, each (P, L, T, H).

    All 2P recurrences advance together: the small encoders of the demo would otherwise spend most of
    a training step in nn.GRU, which runs one half of one operator after another.
    """

    def stacked(name: str) -> Tensor:
        return torch.stack([half for one in operators for half in one.halves(name)])

    code = position_code(len(position), operators[0].gru.input_size, lengths.device)
    # Each length is read backwards from its own end; what is read beyond it is never looked at.
    mirrored = (lengths[:, None] - 1 - position).clamp(min=0)
    order = torch.stack([position.expand_as(mirrored), mirrored]).repeat(len(operators), 1, 1)
    inputs = torch.einsum("tw,sgw->stg", code, stacked("weight_ih_l0")) + stacked("bias_ih_l0")[:, None]
    inputs = inputs[torch.arange(len(inputs), device=code.device)[:, None, None], order]
    states = _recurrence(inputs, stacked("weight_hh_l0"), stacked("bias_hh_l0")).unflatten(0, (-1, 2))
    forward, backward = states.unbind(1)
    return forward, backward.gather(2, mirrored[None, :, :, None].expand_as(backward))


def _recurrence(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Gated recurrent units (Cho et al., 2014, in the form of torch.nn.GRU), S side by side.

    Args:
        inputs: (S, L, T, 3H), the input's share of reset, update and new gate.
        weight: (S, 3H, H), recurrent.
        bias: (S, 3H), recurrent.

    Returns:
        (S, L, T, H).
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


class GaussianTensor(NamedTuple):
    """N(mean, diag(exp(log_var))), one a row.

    Attributes:
        mean: (B, D), unit length.
        log_var: (B, D), natural logarithm of the variance.
    """

    mean: Tensor
    log_var: Tensor

    def float(self) -> "GaussianTensor":
        """In float32, whatever the autocast made of it."""
        return GaussianTensor(self.mean.float(), self.log_var.float())

    def rows(self, which: Tensor) -> "GaussianTensor":
        """The Gaussians at the given rows."""
        return GaussianTensor(self.mean[which], self.log_var[which])


def pair_distance(a: GaussianTensor, b: GaussianTensor, variances: bool = True) -> Tensor:
    """Closed-form sampled distance of every a to every b (Chun, ICLR 2024, eq. 1).

    d = ||mean_a - mean_b||² + sum exp(log_var_a) + sum exp(log_var_b). The squared norm is expanded
    into a matrix product and the variances into two vectors: O(A B) memory, where the formula as
    written holds (A, B, D) tensors. float32 also under autocast, whose bfloat16 has three digits.

    Args:
        a: A Gaussians.
        b: B Gaussians.
        variances: False leaves their sums out: the squared distance of the means alone.

    Returns:
        (A, B) float32.
    """
    with torch.autocast(a.mean.device.type, enabled=False):
        a, b = a.float(), b.float()
        return torch.addmm(own_part(a, variances)[:, None] + own_part(b, variances), a.mean, b.mean.T, alpha=-2)


def own_part(one: GaussianTensor, variances: bool = True) -> Tensor:
    """(B,) what each Gaussian brings to its distance from any other: ||mean||² + sum exp(log_var)."""
    norm = one.mean.square().sum(1)
    return norm + one.log_var.exp().sum(1) if variances else norm


# With a chosen start the log-variances should differ little between channels and inputs, yet not be
# blind to the input: a tenth of the default weights leaves a spread of about 0.05 nats.
START_SHRINK = 0.1


class GaussianHeads(nn.Module):
    """Linear + GPO to the unit-length mean, a second Linear + GPO to the log-variance.

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
        """Sets the log-variance's bias to `start` and its weights to a tenth: it begins near `start`."""
        with torch.no_grad():
            self.std_linear.bias.fill_(start)
            self.std_linear.weight.mul_(START_SHRINK)

    def pool(self, features: Tensor, lengths: Tensor | None = None) -> GaussianTensor:
        """A Gaussian for each sequence.

        Args:
            features: (B, T, width).
            lengths: (B,) int64; None when every sequence fills T.
        """
        mean, log_var = self.linear(features), self.std_linear(features)
        with torch.autocast(features.device.type, enabled=False):
            mean_weights, log_var_weights = self._weights(features, lengths)
            mean = pool(mean.float(), mean_weights, lengths)
            log_var = pool(log_var.float(), log_var_weights, lengths)
            return GaussianTensor(F.normalize(mean, dim=1), log_var)

    def _weights(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """(2, B or 1, T): for the mean and for the log-variance. Equal lengths are computed once."""
        operators = [self.gpool, self.std_gpool]
        if lengths is None:
            return rank_weights(operators, torch.tensor([features.shape[1]], device=features.device))
        distinct, which = lengths.unique(return_inverse=True)
        weights = rank_weights(operators, distinct)[:, which]
        return F.pad(weights, (0, features.shape[1] - weights.shape[2]))
