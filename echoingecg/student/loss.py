"""The training objective: the student and its loss as one module, fed with one kind of pairs at a time.

`PcmeLoss` is PCME++ (Chun, ICLR 2024) as EchoingECG uses it, for both kinds of pairs. Its ablation 'mean_only' is the
same form with the means alone: d = ||mean_a - mean_b||², and no KL; neither side's log-variance has a part in it.
`InfoNceLoss`, also for ablation, is the symmetric InfoNCE on the cosine of the means (CLIP: Radford, ICML 2021,
section 2.3). `study_likelihood` can be added for ECG-echo pairs: it makes the variance that of the study's mean.
"""

import math
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from echoingecg.recipe import StudentSettings
from echoingecg.student.data.batches import Partner
from echoingecg.student.distributed import gather_numbers, gather_rows
from echoingecg.student.model.gaussian_heads import GaussianTensor, own_distance, pair_distance
from echoingecg.student.model.student import Student

LARGEST_FACTOR = 100.0  # CLIP's bound on 1 / temperature: beyond it training becomes unstable
# As torch.nn.GaussianNLLLoss. A component of a unit-length mean of width 512 varies by about 2e-3: no ECG tells it so
# well. The likelihood of two opposite means is 2 / D / this, 4e3 at width 512: within the limit of a sound loss.
LEAST_VARIANCE = 1e-6

Repeats = tuple[Tensor, Tensor]  # rows and columns of pairs that match beside the diagonal, see repeated_partners


class LossTerms(NamedTuple):
    """The loss and its terms; scalars.

    Attributes:
        total: the weighted sum, the only term with a gradient.
        match: BCE against the matches.
        pseudo: BCE with pseudo-positives, both directions added.
        kl: KL to N(0, I), both sides added, after the guard.
        n_pseudo: pseudo-positives of both directions, matched pairs not counted.
        likelihood: negative log-likelihood of the studies' means under the ECGs' Gaussians; None if it is not in use.
    """

    total: Tensor
    match: Tensor
    pseudo: Tensor
    kl: Tensor
    n_pseudo: Tensor
    likelihood: Tensor | None = None


class Objective(nn.Module):
    """The student and its loss in one forward pass, as Fabric wraps it.

    Both kinds of pairs share the logit scale and shift: one distance means one probability. A loss that does
    not use variances leaves the student with the same variance for every input.
    """

    def __init__(self, student: Student, settings: StudentSettings) -> None:
        super().__init__()
        self.student = student
        self.criterion = InfoNceLoss(settings) if settings.loss == "infonce" else PcmeLoss(settings)
        self.gather_negatives = settings.gather_negatives
        self.repeats_match = settings.same_partner == "match"
        self.likelihood_weight = settings.likelihood_weight if settings.variance == "likelihood" else 0.0
        self.freeze_batch_norm = settings.freeze_batch_norm
        if settings.loss != "pcmepp":
            for heads in (student.ecg_encoder, student.text_encoder):
                nn.init.zeros_(heads.std_linear.weight)

    def train(self, mode: bool = True) -> Self:
        """Sets training mode as nn.Module.train does; batch norms stay in eval mode if the settings freeze them."""
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, signal: Tensor, partner: Partner, identity: Tensor | None = None) -> LossTerms:
        """Computes the loss of one batch; of all processes' rows together if negatives are gathered.

        Args:
            signal: (B, 12, T) standardised ECGs.
            partner: row i is the partner of ECG i.
            identity: (B,) int64, equal for the same partner; None if all partners differ.
        """
        ecg, other = self.student.encode_ecg(signal), self.encode_partner(partner)
        if self.gather_negatives:
            ecg, other = gather_rows(ecg), gather_rows(other)
            identity = None if identity is None else gather_numbers(identity)
        return self.pair_loss(ecg, other, identity, targets=isinstance(partner, GaussianTensor))

    def pair_loss(
        self, ecg: GaussianTensor, other: GaussianTensor, identity: Tensor | None, targets: bool
    ) -> LossTerms:
        """Computes the loss of encoded pairs, in training as in validation.

        Args:
            ecg: B Gaussians.
            other: B Gaussians, row i the partner of ECG i.
            identity: (B,) int64, equal for the same partner; None if all partners differ.
            targets: the partners are the teacher's Gaussians of studies, and not texts.
        """
        repeats = repeated_partners(identity) if self.repeats_match and identity is not None else None
        terms: LossTerms = self.criterion(ecg, other, repeats)
        if not (targets and self.likelihood_weight):
            return terms
        likelihood = study_likelihood(ecg, other.mean)
        total = terms.total + self.likelihood_weight * likelihood
        return terms._replace(total=total, likelihood=likelihood.detach())

    def encode_partner(self, partner: Partner) -> GaussianTensor:
        """Returns targets as they are, and encodes texts as Gaussians."""
        return partner if isinstance(partner, GaussianTensor) else self.student.encode_text(partner.ids, partner.mask)


def repeated_partners(identity: Tensor) -> Repeats | None:
    """Finds the pairs beside the matched ones whose partner is the matched one once more.

    Args:
        identity: (B,) int64, equal for the same partner.

    Returns:
        Rows and columns of the pairs, each (P,) int64; None if all partners differ.
    """
    if len(identity.unique()) == len(identity):
        return None
    rows, columns = (identity[:, None] == identity).fill_diagonal_(False).nonzero(as_tuple=True)
    return rows, columns


def study_likelihood(ecg: GaussianTensor, study: Tensor) -> Tensor:
    """Computes the negative log-likelihood of the studies' means under the ECGs' own Gaussians, in float32.

    0.5 x mean over B and D of log v + (mean_ecg - mean_study)^2 / v, with v = exp(log_var) (Kendall and Gal, NeurIPS
    2017, eq. 8; log(2 pi) left out). It is least where v is the expected squared difference given the ECG. Both means
    have unit length, but the expected study given an ECG, of length r < 1, has not: summed over D the least v is
    2 - 2 r. That is the variance of the study given the ECG, 1 - r^2, and beside it (1 - r)^2, which is small for an
    ECG that tells much and equals the variance for one that tells nothing.

    Below LEAST_VARIANCE the value is that at the bound, and so is the gradient, so that the variance can come back.

    Args:
        ecg: B Gaussians.
        study: (B, D), the teacher's mean of each ECG's study.

    Returns:
        () float32.
    """
    with torch.autocast(ecg.mean.device.type, enabled=False):
        mean, log_var = ecg.float()
        log_var = log_var.detach().clamp(min=math.log(LEAST_VARIANCE)) + (log_var - log_var.detach())
        return 0.5 * (log_var + (mean - study.float()).square() * torch.exp(-log_var)).mean()


class PcmeLoss(nn.Module):
    """Match BCE + guarded KL + pseudo-positive BCE, with learned logit scale and shift.

    Row i of one side matches row i of the other, and those rows that repeat it: two studies with one report, say. A
    pseudo-positive is a pair whose logit is at least that of its own row's pair i, i, or of its column's.

    The variance of an ECG stands still, without KL, where the match probabilities of its row sum to
    (match_weight x matches + pseudo_weight x positives) / (match_weight + 2 x pseudo_weight): matches of the row, and
    how often its pairs are positive in the pseudo-positive BCE, matches included (derived in docs/method.md).

    Args:
        settings: starts, weights and the KL limit; loss 'mean_only' leaves variances and KL out.
    """

    def __init__(self, settings: StudentSettings) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([settings.scale_start]))
        self.shift = nn.Parameter(torch.tensor([settings.shift_start]))
        self.variances = settings.loss != "mean_only"
        self.match_weight = settings.match_weight
        self.kl_weight = settings.kl_weight
        self.kl_limit = settings.kl_limit
        self.pseudo_weight = settings.pseudo_positive_weight

    def forward(self, a: GaussianTensor, b: GaussianTensor, repeats: Repeats | None = None) -> LossTerms:
        """Computes the loss of B matched pairs, in float32 also under autocast.

        Args:
            a: B Gaussians.
            b: B Gaussians, row i the partner of a's row i.
            repeats: pairs beside (i, i) that match, too.
        """
        with torch.autocast(a.mean.device.type, enabled=False):
            a, b = a.float(), b.float()
            own_a, own_b = own_distance(a, self.variances), own_distance(b, self.variances)
            # shift - scale x distance; both are applied to the factors and not to their (B, B) product.
            own_logits = (self.shift - self.scale * own_a)[:, None] - self.scale * own_b
            logits = torch.addmm(own_logits, 2 * self.scale * a.mean, b.mean.T)
            pairs, match, pseudo, n_pseudo = _PairBce.apply(logits, self.match_weight, self.pseudo_weight, repeats)
            kl = self._kl(a, own_a) + self._kl(b, own_b)
        return LossTerms(pairs + self.kl_weight * kl, match, pseudo, kl.detach(), n_pseudo)

    def distance(self, a: GaussianTensor, b: GaussianTensor) -> Tensor:
        """Computes the loss's distance of every a to every b, (A, B) float32, by which retrieval ranks."""
        return pair_distance(a, b, self.variances)

    def _kl(self, gaussian: GaussianTensor, own: Tensor) -> Tensor:
        """Computes KL(N(mean, exp(log_var)) || N(0, 1)), mean over all elements; 0 beyond the limit."""
        if not self.variances:
            return own.new_zeros(())
        kl = 0.5 * ((own.sum() - gaussian.log_var.sum()) / gaussian.log_var.numel() - 1)
        return torch.where(kl > self.kl_limit, 0.0, kl)


class _PairBce(torch.autograd.Function):
    """Computes both weighted BCEs of a square of logits, and their gradient, in one pass.

    softplus(x) - t x is the BCE of logit x and target t: softplus is common to all targets. The gradient is
    sum of weights x sigmoid(x) - sum of weights x targets, computed in the forward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, match_weight: float, pseudo_weight: float, repeats: Repeats | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        matched, pairs = logits.diagonal(), logits.numel()
        # How often a pair is positive: once if its logit is at least the row's matched one, once for the column's.
        positive = (logits >= matched[:, None]).to(logits.dtype).add_(logits >= matched)
        matches, matched_sum = len(logits), matched.sum()
        if repeats is not None:
            positive[repeats] = 2
            matches, matched_sum = matches + len(repeats[0]), matched_sum + logits[repeats].sum()
        soft = F.softplus(logits).sum()
        match = (soft - matched_sum) / pairs
        pseudo = (2 * soft - torch.dot(logits.flatten(), positive.flatten())) / pairs
        n_pseudo = positive.sum(dtype=torch.float64).long() - 2 * matches
        if ctx.needs_input_grad[0]:
            gradient = logits.sigmoid().mul_(match_weight + 2 * pseudo_weight).sub_(positive, alpha=pseudo_weight)
            gradient.diagonal().sub_(match_weight)
            if repeats is not None:
                gradient[repeats] -= match_weight
            ctx.save_for_backward(gradient.div_(pairs))
        ctx.mark_non_differentiable(match, pseudo, n_pseudo)
        return match_weight * match + pseudo_weight * pseudo, match, pseudo, n_pseudo

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, loss_gradient: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * loss_gradient, None, None, None


class InfoNceLoss(nn.Module):
    """Mean of the cross-entropies that find b's row from a and a's row from b; log-variances are not used.

    Rows that repeat a partner share its target alike (Yang et al., CVPR 2022).

    Args:
        settings: temperature_start is used.
    """

    def __init__(self, settings: StudentSettings) -> None:
        super().__init__()
        self.log_factor = nn.Parameter(torch.tensor([-math.log(settings.temperature_start)]))

    @property
    def factor(self) -> Tensor:
        """1 / temperature, (1,) float32, at most 100; its gradient is not 0 beyond the bound, so it can come back."""
        excess = (self.log_factor.detach() - math.log(LARGEST_FACTOR)).clamp(min=0)
        return (self.log_factor - excess).exp()

    @property
    def scale(self) -> Tensor:
        """Scale of the match logit -scale * d + shift.

        The logit is cos / temperature, since d = ||mean_a - mean_b||² = 2 - 2 cos.
        """
        return self.factor / 2

    @property
    def shift(self) -> Tensor:
        """Shift of the match logit, see `scale`."""
        return self.factor

    def forward(self, a: GaussianTensor, b: GaussianTensor, repeats: Repeats | None = None) -> LossTerms:
        """Computes the loss of B matched pairs, in float32 also under autocast.

        Args:
            a: B Gaussians.
            b: B Gaussians, row i the partner of a's row i.
            repeats: pairs beside (i, i) that match, too.
        """
        with torch.autocast(a.mean.device.type, enabled=False):
            cosine = F.normalize(a.mean.float(), dim=1) @ F.normalize(b.mean.float(), dim=1).T
            logits = self.factor * cosine
            matched = torch.arange(len(logits), device=logits.device)
            if repeats is not None:
                share = torch.eye(len(logits), device=logits.device)
                share[repeats] = 1
                matched = share / share.sum(dim=1, keepdim=True)  # symmetric: rows that repeat each other are a block
            total = (F.cross_entropy(logits, matched) + F.cross_entropy(logits.T, matched)) / 2
        none = torch.zeros_like(total.detach())
        return LossTerms(total, total.detach(), none, none, none.long())

    def distance(self, a: GaussianTensor, b: GaussianTensor) -> Tensor:
        """Computes the squared distance of the unit-length means, (A, B) float32; it ranks as the cosine does."""
        return pair_distance(a, b, variances=False)
