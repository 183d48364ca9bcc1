"""One training step of the full ECG encoder: bf16 autocast against float32."""

from collections.abc import Iterator

import torch
from torch.optim import AdamW

from benchmarks.measure import Row, at_least, seconds
from echoingecg.recipe import ModelSettings
from echoingecg.student.model.student import EcgEncoder

BATCH = 8  # a float32 sample takes half a second here
REPEATS = 2


def rows() -> Iterator[Row]:
    """126.6 M parameters: forward, backward, AdamW."""
    torch.manual_seed(0)
    encoder = EcgEncoder(ModelSettings())
    optimizer = AdamW(encoder.parameters(), lr=3e-5, fused=True)
    signal = torch.randn(BATCH, 12, 1000)

    def step(bf16: bool) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            ecg = encoder(signal).float()
        optimizer.zero_grad()
        (ecg.mean.sum() + ecg.log_var.mean()).backward()
        optimizer.step()

    parameters = sum(one.numel() for one in encoder.parameters()) / 1e6
    yield Row(
        f"encoder step, {parameters:.1f} M parameters, batch {BATCH}, bf16",
        "the same in float32",
        seconds(lambda: step(False), REPEATS),
        seconds(lambda: step(True), REPEATS),
        at_least(2.2),
    )
