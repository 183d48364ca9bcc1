"""The two heads that both towers share: features of a sequence in, one Gaussian out."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoingecg.student.gaussian import Gaussian
from echoingecg.student.model.gaussian_heads import GeneralisedPooling, pool, rank_weights

# With a chosen start the log-variances should differ little between channels and inputs, yet not be
# blind to the input: a tenth of the default weights leaves a spread of about 0.05 nats.
START_SHRINK: Final = 0.1


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

    def pool(self, features: Tensor, lengths: Tensor | None = None) -> Gaussian:
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
            return Gaussian(F.normalize(mean, dim=1), log_var)

    def _weights(self, features: Tensor, lengths: Tensor | None) -> Tensor:
        """(2, B or 1, T): for the mean and for the log-variance. Equal lengths are computed once."""
        operators = [self.gpool, self.std_gpool]
        if lengths is None:
            return rank_weights(operators, torch.tensor([features.shape[1]], device=features.device))
        distinct, which = lengths.unique(return_inverse=True)
        weights = rank_weights(operators, distinct)[:, which]
        return F.pad(weights, (0, features.shape[1] - weights.shape[2]))
