"""Low-rank adapters beside frozen weights (LoRA: Hu et al., ICLR 2022), for 1-D convolutions as for linear layers."""

from torch import Tensor, nn

from echoingecg.student.model.student import EcgEncoder


class LowRank(nn.Module):
    """base(x) + up(down(x)); `up` starts at zero, so that the sum starts as the base.

    For a convolution `down` has the base's kernel and stride and `up` is pointwise: together a kernel of rank r.
    """

    def __init__(self, base: nn.Conv1d | nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down: nn.Module
        self.up: nn.Conv1d | nn.Linear
        if isinstance(base, nn.Linear):
            self.down = nn.Linear(base.in_features, rank, bias=False)
            self.up = nn.Linear(rank, base.out_features, bias=False)
        else:
            shape = (base.kernel_size, base.stride, base.padding)
            self.down = nn.Conv1d(base.in_channels, rank, *shape, bias=False)  # type: ignore[arg-type]
            self.up = nn.Conv1d(rank, base.out_channels, 1, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base(x) + self.up(self.down(x))
        return y


def add_adapters(encoder: EcgEncoder, rank: int) -> None:
    """Freezes the encoder and puts an adapter beside every convolution and the mean's linear layer, in place."""
    encoder.requires_grad_(False)
    for name, module in list(encoder.named_modules()):
        if isinstance(module, nn.Conv1d) or module is encoder.linear:
            parent, _, child = name.rpartition(".")
            encoder.get_submodule(parent).register_module(child, LowRank(module, rank))
