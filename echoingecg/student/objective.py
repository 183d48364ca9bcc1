"""What is optimised: the student and its loss as one module, fed with one kind of batch at a time."""

from typing import NamedTuple

from torch import Tensor, nn

from echoingecg.recipe import StudentSettings
from echoingecg.student.gaussian import Gaussian
from echoingecg.student.loss import LossTerms, PcmeLoss
from echoingecg.student.model import Student


class Tokens(NamedTuple):
    """A batch of texts: ids and mask, both (B, T) int64."""

    ids: Tensor
    mask: Tensor


Partner = Gaussian | Tokens  # the teacher's targets, or texts still to be encoded


class Objective(nn.Module):
    """Everything learned, in one forward pass: what Fabric wraps.

    The logit scale and shift are shared by the two losses: one distance means one probability.
    """

    def __init__(self, student: Student, settings: StudentSettings) -> None:
        super().__init__()
        self.student = student
        self.criterion = PcmeLoss(settings)

    def forward(self, signal: Tensor, partner: Partner) -> LossTerms:
        """Loss of one batch.

        Args:
            signal: (B, 12, T) standardised ECGs.
            partner: row i belongs to ECG i.
        """
        ecg = self.student.encode_ecg(signal)
        terms: LossTerms = self.criterion(ecg, self.encode_partner(partner))
        return terms

    def encode_partner(self, partner: Partner) -> Gaussian:
        """Gaussians of targets (as they are) or of texts."""
        return partner if isinstance(partner, Gaussian) else self.student.encode_text(partner.ids, partner.mask)
