"""What is optimised: the student and its loss as one module, fed with one kind of batch at a time."""

from typing import NamedTuple, Self

from torch import Tensor, nn

from echoingecg.recipe import StudentSettings
from echoingecg.student.distributed import gathered
from echoingecg.student.gaussian import Gaussian
from echoingecg.student.infonce import InfoNceLoss
from echoingecg.student.loss import LossTerms, PcmeLoss
from echoingecg.student.model import Student


class Tokens(NamedTuple):
    """A batch of texts: ids and mask, both (B, T) int64."""

    ids: Tensor
    mask: Tensor


Partner = Gaussian | Tokens  # the teacher's targets, or texts still to be encoded


class Objective(nn.Module):
    """Everything learned, in one forward pass: what Fabric wraps.

    The logit scale and shift are shared by the two losses: one distance means one probability. A loss
    that has no use for variances leaves the student with the same one for every input: it knows none.
    """

    def __init__(self, student: Student, settings: StudentSettings) -> None:
        super().__init__()
        self.student = student
        self.criterion = InfoNceLoss(settings) if settings.loss == "infonce" else PcmeLoss(settings)
        self.gather_negatives = settings.gather_negatives
        self.freeze_batch_norm = settings.freeze_batch_norm
        if settings.loss != "pcmepp":
            for heads in (student.ecg_encoder, student.text_encoder):
                nn.init.zeros_(heads.std_linear.weight)

    def train(self, mode: bool = True) -> Self:
        """Like nn.Module.train; batch norms stay in eval mode if the settings freeze them."""
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, signal: Tensor, partner: Partner) -> LossTerms:
        """Loss of one batch; with negatives gathered, that of all processes' rows together.

        Args:
            signal: (B, 12, T) standardised ECGs.
            partner: row i belongs to ECG i.
        """
        ecg, other = self.student.encode_ecg(signal), self.encode_partner(partner)
        if self.gather_negatives:
            ecg, other = gathered(ecg), gathered(other)
        terms: LossTerms = self.criterion(ecg, other)
        return terms

    def encode_partner(self, partner: Partner) -> Gaussian:
        """Gaussians of targets (as they are) or of texts."""
        return partner if isinstance(partner, Gaussian) else self.student.encode_text(partner.ids, partner.mask)
