"""Hours and price of all of MIMIC-IV on paper: assumptions that a reader can change, and what follows from them."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field


class Assumptions(BaseModel):
    """What the calculation rests on; each with where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    gpus: float = Field(1, gt=0, description="H100 SXM in one machine")
    cores_a_gpu: float = Field(26, gt=0, description="usual in rented machines")
    dollars_a_gpu_hour: float = Field(3, description="assumed; the machine's cores and disk included")
    ecgs: float = Field(800e3, description="MIMIC-IV-ECG 1.0")
    clips: float = Field(525e3, description="MIMIC-IV-ECHO 0.1")
    frames_a_clip: float = Field(60, description="assumed; single frames among them")
    echo_terabytes: float = Field(1.5, description="assumed: 3 MB a clip")
    ecg_terabytes: float = Field(0.1, description="12 x 5000 samples of 2 bytes an ECG, and its header")
    disk_gigabytes_a_second: float = Field(1, gt=0, description="assumed: one NVMe disk or a good network folder")
    ecgs_a_core_second: float = Field(
        890, gt=0, description="measured: 5,000 in 2.8 s on 2 cores (docs/performance.md)"
    )
    frames_a_core_second: float = Field(420, gt=0, description="measured, 640 x 480 px (docs/teacher.md)")
    frames_a_process_second: float = Field(
        10e3, gt=0, description="assumed: 1.5 GB/s from decoding workers into the one process that embeds"
    )
    gflop_a_frame: float = Field(31, description="ConvNeXt-Base at 224 px, forward (docs/teacher.md)")
    gflop_an_ecg: float = Field(27.8, description="counted: ECG encoder, 12 x 1000 samples, forward")
    gflop_a_text: float = Field(43.5, description="counted: BERT base, 256 tokens, forward")
    tflops: float = Field(989, gt=0, description="H100, dense bfloat16, by its data sheet")
    share_embedding: float = Field(0.2, gt=0, description="assumed: of that, reached by ConvNeXt")
    share_training: float = Field(0.25, gt=0, description="assumed: of that, reached by the student's step")
    echo_pairs: float = Field(50e3, description="assumed: training pairs of an ECG and an echo study")
    text_pairs: float = Field(640e3, description="assumed: training share 0.8 of all ECGs, each with a report")
    epochs: float = Field(30, description="recipe `paper`; not published")
    scaling: float = Field(0.8, gt=0, description="assumed: of n GPUs' ideal speed, in training, where n > 1")
    evaluation_hours: float = Field(0.5, description="assumed: fine-tuning left out")


@dataclass(frozen=True)
class Cost:
    """Of one stage: hours, and what they are spent on."""

    stage: str
    hours: float
    limit: str


def costs(told: Assumptions) -> list[Cost]:
    """Hours by stage, one after the other."""
    cores, frames = told.gpus * told.cores_a_gpu, told.clips * told.frames_a_clip
    ecgs, echoes = (one * 1e3 / told.disk_gigabytes_a_second for one in (told.ecg_terabytes, told.echo_terabytes))
    embedding = frames * told.gflop_a_frame / (told.gpus * told.tflops * 1e3 * told.share_embedding)
    # forward and backward are three forwards
    step = 3 * (told.gflop_an_ecg * (told.echo_pairs + told.text_pairs) + told.gflop_a_text * told.text_pairs)
    speed = told.gpus * (told.scaling if told.gpus > 1 else 1) * told.tflops * 1e3 * told.share_training
    return [
        _slowest("catalog", {"reading, hashing": ecgs + echoes}),
        _slowest("ecg", {"reading": ecgs, "cores": told.ecgs / (cores * told.ecgs_a_core_second)}),
        _slowest(
            "teacher",
            {
                "reading": echoes,
                "cores": frames / (cores * told.frames_a_core_second),
                "one process": frames / told.frames_a_process_second,
                "GPU": embedding,
            },
        ),
        _slowest("student", {"GPU": told.epochs * step / speed}),
        _slowest("evaluation", {"bootstrap": told.evaluation_hours * 3600}),
    ]


def _slowest(stage: str, seconds: dict[str, float]) -> Cost:
    limit = max(seconds, key=lambda one: seconds[one])
    return Cost(stage, seconds[limit] / 3600, limit)


def tables(told: Assumptions, others: tuple[int, ...] = (1, 8)) -> Iterator[str]:
    """Lines of two Markdown tables: hours and dollars for each number of GPUs, and the assumptions."""
    columns = [told.model_copy(update={"gpus": float(gpus)}) for gpus in others]
    found = [costs(one) for one in columns]
    yield "| stage | " + " | ".join(f"{gpus} x H100, h | limit" for gpus in others) + " |"
    yield "|---" * (1 + 2 * len(others)) + "|"
    for row in zip(*found, strict=True):
        yield f"| {row[0].stage} | " + " | ".join(f"{one.hours:.2f} | {one.limit}" for one in row) + " |"
    hours = [sum(one.hours for one in column) for column in found]
    yield "| together | " + " | ".join(f"{one:.1f} |" for one in hours) + " |"
    dollars = (one * each.gpus * each.dollars_a_gpu_hour for one, each in zip(hours, columns, strict=True))
    yield "| dollars | " + " | ".join(f"{one:,.0f} |" for one in dollars) + " |"
    yield ""
    yield "| assumption | value | whence |"
    yield "|---|---|---|"
    for name, field in Assumptions.model_fields.items():
        if name != "gpus":
            yield f"| `{name}` | {getattr(told, name):,g} | {field.description} |"
