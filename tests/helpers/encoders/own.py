"""ECG encoders as a user would write them, named in recipes as `helpers.encoders.own:Class`."""

import torch
from torch import Tensor, nn

from echoingecg.student.encoders.kind import EncoderInput


class Tiny(nn.Module):
    """Two convolutions, a batch norm, dropout and an attention over windows of 5 s at 50 Hz, of eight leads."""

    encoder_input = EncoderInput(50.0, 250, "lead", ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"))
    width = 8

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv1d(8, 8, 5, stride=5, padding=2)
        self.norm = nn.BatchNorm1d(8)
        self.deep = nn.Conv1d(8, 8, 3, padding=1)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 8)
        self.dropout = nn.Dropout(0.2)

    def forward(self, ecg: Tensor) -> Tensor:
        """Maps (n, 8, 250) to (n, 50, 8)."""
        x = torch.relu(self.deep(torch.relu(self.norm(self.stem(ecg))))).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        out: Tensor = self.out(self.dropout(x))
        return out


class Standardised(Tiny):
    """Takes what the paper's encoder takes: leads scaled by the training ECGs."""

    encoder_input = EncoderInput(50.0, 500, "training", Tiny.encoder_input.leads)


class Flat(Tiny):
    """Returns a vector and no sequence."""

    def forward(self, ecg: Tensor) -> Tensor:
        """Maps (n, 8, 250) to (n, 8)."""
        return super().forward(ecg).mean(1)


class NoInput(nn.Module):
    """Declares nothing."""
