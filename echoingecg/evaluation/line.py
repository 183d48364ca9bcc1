"""A probability whose logit is linear in the ECG's mean embedding: what zero-shot and linear probe come to."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit
from scipy.stats import norm


@dataclass(frozen=True)
class Line:
    """Probability = sigmoid(weight . mean + bias).

    Attributes:
        weight: (D,) float64.
        bias: of the logit.
    """

    weight: np.ndarray
    bias: float

    def scores(self, mean: np.ndarray) -> np.ndarray:
        """Probabilities in [0, 1], (n,) float64, of mean embeddings (n, D)."""
        return expit(self._logit(mean))

    def interval(self, mean: np.ndarray, log_var: np.ndarray, mass: float) -> tuple[np.ndarray, np.ndarray]:
        """Where the probability lies when the embedding is drawn from the ECG's own Gaussian.

        The logit of z ~ N(mean, diag(exp(log_var))) is normal, with variance sum of weight^2 exp(log_var), and the
        sigmoid rises: the percentiles are exact.

        Args:
            mean: (n, D).
            log_var: (n, D).
            mass: of the draws that lie inside, as many to the left as to the right.

        Returns:
            Low and high, (n,) float64 each.
        """
        logit = self._logit(mean)
        reach = norm.ppf((1 + mass) / 2) * np.sqrt(np.exp(log_var.astype(np.float64)) @ self.weight**2)
        return expit(logit - reach), expit(logit + reach)

    def _logit(self, mean: np.ndarray) -> np.ndarray:
        logit: np.ndarray = mean.astype(np.float64) @ self.weight + self.bias
        return logit
