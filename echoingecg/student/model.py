"""The student: both towers under the released weights' names."""

from torch import Tensor, nn

from echoingecg.recipe import ModelSettings
from echoingecg.student.gaussian import Gaussian
from echoingecg.student.model.student import EcgEncoder
from echoingecg.student.model.text_encoder import TextEncoder


class Student(nn.Module):
    """ECGs and texts to Gaussians in the teacher's space (EchoingECG, figure 1).

    Args:
        settings: the architecture.
        backbone: transformers encoder of the text tower, see text.text_tower and text.backbone_from_config.
    """

    def __init__(self, settings: ModelSettings, backbone: nn.Module) -> None:
        super().__init__()
        self.ecg_encoder = EcgEncoder(settings)
        self.text_encoder = TextEncoder(backbone, settings)
        if settings.log_var_start is not None:
            self.ecg_encoder.start_log_var(settings.log_var_start)
            self.text_encoder.start_log_var(settings.log_var_start)

    def encode_ecg(self, signal: Tensor) -> Gaussian:
        """Gaussians of ECGs.

        Args:
            signal: (B, 12, T) float32, leads in the order of conventions.LEADS, standardised per lead.
        """
        gaussian: Gaussian = self.ecg_encoder(signal)
        return gaussian

    def encode_text(self, ids: Tensor, mask: Tensor) -> Gaussian:
        """Gaussians of wrapped, tokenised texts.

        Args:
            ids: (B, T) int64.
            mask: (B, T) int64, 1 marks a token, padding at the end.
        """
        gaussian: Gaussian = self.text_encoder(ids, mask)
        return gaussian
