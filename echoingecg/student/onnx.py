"""The ECG encoder as an ONNX file, for programs without torch: signals in mV in, Gaussians out.

Standardisation, trunk, heads and pooling are in the graph. The weights that the pooling operator gives to ranks are
numbers in it: for signals of one length they do not depend on the ECG. Needs the extra `onnx`.

Shape legend: n = ECGs, T = samples, D = embedding width, F = features of the trunk.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_contracts.conventions import LEADS, SAMPLES, SAMPLING_FREQUENCY
from echoingecg.common import UserError
from echoingecg.ecg.decode.recording.leads import leads_of_set
from echoingecg.student.model.gaussian_heads import rank_weights

if TYPE_CHECKING:
    from echoingecg.student.inference import LoadedStudent

INPUT, OUTPUTS = "ecg", ("mean", "log_var", "features")
_OPSET = 18
_EXAMPLES = 2  # ECGs that are traced; the number stays free


class TraceableEncoder(nn.Module):
    """What `LoadedStudent.embed_ecg_with_features` computes, by operations that ONNX knows.

    Args:
        student: whose encoder, scaler and set of leads are used; its weights are shared, not copied.
    """

    lead_mean: Tensor
    lead_scale: Tensor
    is_seen: Tensor
    rank_weights: Tensor

    def __init__(self, student: "LoadedStudent") -> None:
        super().__init__()
        self.encoder = student.objective.student.ecg_encoder
        self.fewer_leads = student.scaler.fewer_leads
        operators = [self.encoder.gpool, self.encoder.std_gpool]
        with torch.no_grad():
            steps = self.encoder.features(torch.zeros(1, len(LEADS), SAMPLES)).shape[1]
            weights = rank_weights(operators, torch.tensor([steps]))
        seen = leads_of_set(student.lead_set)
        for name, values in {
            "lead_mean": torch.from_numpy(student.scaler.mean).float()[:, None],
            "lead_scale": torch.from_numpy(student.scaler.scale).float()[:, None],
            "is_seen": torch.tensor([[float(lead in seen)] for lead in LEADS]),
            "rank_weights": weights[:, 0, :, None],
        }.items():
            self.register_buffer(name, values)

    def forward(self, ecg: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps (n, 12, T) float32, mV, to mean (n, D), log_var (n, D) and features (n, F)."""
        standardised = (ecg - self.lead_mean) / self.lead_scale * self.is_seen
        if self.fewer_leads:
            standardised = standardised * (ecg != 0).any(dim=2, keepdim=True)
        features = self.encoder.features(standardised)
        mean, log_var = (
            (linear(features).sort(dim=1, descending=True).values * weight).sum(dim=1)
            for linear, weight in zip((self.encoder.linear, self.encoder.std_linear), self.rank_weights, strict=True)
        )
        steps = features.shape[1]  # sums: torch.mean would give a node the name of an output
        middle = features.sum(dim=1, keepdim=True) / steps
        spread = ((features - middle).square().sum(dim=1) / steps).sqrt()
        return F.normalize(mean, dim=1), log_var, torch.cat([middle[:, 0], spread], dim=1)


def export_onnx(student: "LoadedStudent", path: Path) -> None:
    """Writes the ECG encoder as one ONNX file.

    Its input `ecg` is float32 (n, 12, 1000) for any n: mV at 100 Hz, filtered as the student's signals were, leads in
    the order of conventions.LEADS. Its outputs are `mean` and `log_var`, float32 (n, D), and `features`, (n, F).

    Args:
        student: on the CPU.
        path: of the file, which is replaced.

    Raises:
        UserError: the packages of the extra `onnx` are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError as fault:
        raise UserError(f"{fault.name} is not installed: pip install 'echoingecg[onnx]'") from fault
    example = torch.zeros(_EXAMPLES, len(LEADS), SAMPLES)
    program = torch.onnx.export(
        TraceableEncoder(student).eval(), (example,), input_names=[INPUT], output_names=[*map(_answer, OUTPUTS)],
        dynamic_shapes=({0: torch.export.Dim("n")},), opset_version=_OPSET, dynamo=True, verbose=False,
    )  # fmt: skip
    assert program is not None
    model = program.model_proto
    _name_outputs(model.graph)
    for key, value in {
        "unit": "mV", "sampling_frequency": f"{SAMPLING_FREQUENCY:g}", "leads": " ".join(LEADS),
    }.items():  # fmt: skip
        model.metadata_props.add(key=key, value=value)
    onnx.save_model(model, path)


def _answer(name: str) -> str:
    """Returns a name for an output that no operation has: torch calls the results of torch.mean `mean`."""
    return f"answer.{name}"


def _name_outputs(graph: Any) -> None:
    """Gives the outputs their names, and results within the graph that have one of them another, in place."""
    names = {name: f"inner.{name}" for name in OUTPUTS} | {_answer(name): name for name in OUTPUTS}
    for node in graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
    for value in (*graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
