"""Parameters of stages catalog, teacher, pairs and student.

Each parameter states its unit and source. The version of a stage's artefact depends on the stage's section.
"""

from math import isclose
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from data_contracts.conventions import LeadSet, Method

Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]

DEMO_TEACHER = "demo"
BUILT_IN_TEXT = "built-in"
PAPER_ENCODER = "paper"
EncoderTuning = Literal["full", "frozen", "lora"]


class Section(BaseModel):
    """Base of all sections of a recipe: frozen, and unknown keys are refused.

    A field of `later_fields` is left out where it has its default: the section is then as it was before that field, and
    so are the versions of its artefacts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=False)
    later_fields: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _leave_out_later_defaults(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        for name in self.later_fields:
            if getattr(self, name) == type(self).model_fields[name].default:
                values.pop(name, None)
        return values


class StandardisedSettings(Section):
    """Constants of amplitudes that a publisher has standardised: a stored value is (x - mean) / scale."""

    mean: tuple[float, ...] = Field(description="one number, or one for each lead in stored order, in `unit`")
    scale: tuple[Positive, ...] = Field(description="one number, or one for each lead in stored order, in `unit`")
    unit: str = Field("mV", description="unit of both, or a multiple of one: 4.88 uV is a step of GE MUSE")


class CatalogSettings(Section):
    """Section `catalog`: how an export is read."""

    layout: Literal[
        "auto", "mimic-iv", "generic", "ptb-xl", "echonet-dynamic", "echonet-pediatric", "echonet-lvh",
        "echonext", "music", "code-15", "challenge",
    ] = Field("auto", description="how the export is laid out")  # fmt: skip
    public_key: str = Field(
        "",
        description="pseudonym key for data that is already public (simulated, MIMIC-IV, PTB-XL), so that everyone "
        "gets the same split. Leave empty for patients' data: a secret key is then kept in the workspace",
    )
    measurements: tuple[str, ...] = Field(
        (),
        description="measurements to keep, by the export's names; empty keeps all. MIMIC-IV-ECHO 1.0 has 28 million "
        "rows: name those that the evaluation asks for",
    )
    array_unit: str = Field(
        "",
        description="amplitude unit of CODE-15 and SaMi-Trop, whose publisher's words contradict each other: mV, or a "
        " multiple such as 0.5 mV; empty reads 1e-4 V, as written",
    )
    standardised: StandardisedSettings | None = Field(
        None, description="constants that turn ECGs of the stated unit `standardised` (EchoNext) back into mV"
    )
    allow_links: bool = Field(False, description="follow links out of the export, to files of a read-only copy")
    interval_hours: Literal[0, 1, 6, 24] = Field(
        24, description="published times count in steps of so many hours; 0: exact to the second"
    )
    max_refused_share: Share = Field(
        0.05, description="fail when more than this share of the listed files and rows is refused"
    )


class TeacherSettings(Section):
    """Section `teacher`: the frozen teacher, and how clips are prepared for it."""

    model: str = Field(
        DEMO_TEACHER,
        description="'demo' (small, taught on simulated echoes, not for patients), an open_clip name, "
        "'hf-hub:owner/name@commit' (ECHO-CLIP: hf-hub:mkaichristensen/echo-clip; without a commit the newest), "
        "'local-dir:FOLDER' (downloaded), "
        "'echo-prime:FOLDER', 'panecho:FILE', 'transformers:FOLDER', 'torchvision:name' (video), 'table:FILE' (vectors "
        "made elsewhere). Only open_clip and EchoPrime read text, as the teacher's zero-shot needs",
    )
    weights: str = Field(
        "", description="weights file (safetensors or torch, weights only) for an open_clip or a torchvision name"
    )
    image_size: Annotated[int, Field(ge=0)] = Field(0, description="frame edge, px; 0 takes the model's own")
    frame_stride: Count = Field(1, description="take every n-th frame")
    frames_per_second: NotNegative = Field(
        0, description="frames of each second, the nearest in time; 0 takes frames by frame_stride alone"
    )
    max_frames: Annotated[int, Field(ge=0)] = Field(0, description="frames a clip at most; 0 takes all")
    frames_from: Literal["whole", "start"] = Field(
        "whole", description="where max_frames leaves out: 'whole' an even spread over the clip, 'start' the first"
    )
    min_frames: Annotated[int, Field(ge=2)] = Field(2, description="refuse a file with fewer frames: not a cine")
    colour_doppler: Literal["keep", "refuse"] = Field(
        "keep", description="whether clips with colour Doppler, stated in the file or seen in its frames, count"
    )
    view_filter: str = Field(
        "",
        pattern=r"^([\w.]+:\w+)?$",
        description="'module:function' that takes a clip's frames, uint8 (frame, size, size, 3) in RGB, and says "
        "whether it counts; empty takes all. Give a changed function another name: versions know it by that",
    )
    region: Literal["largest", "first"] = Field(
        "largest",
        description="which region of an ultrasound DICOM the teacher sees: 'largest' the largest two-dimensional one; "
        "'first' the first that the file lists, as published",
    )
    stale_region: Literal["refuse", "rescale"] = Field(
        "refuse", description="a region beyond its picture: 'rescale' divides it by the least whole number that fits"
    )
    mask: bool = Field(True, description="black out all beside the moving sector: text, ECG trace, scale, logos")
    window_frames: Count = Field(16, description="frames that a video network of torchvision makes one vector of")
    windows: Literal["all", "first"] = Field(
        "all", description="of a clip longer than a window: windows that span it, or the first alone, as EchoPrime"
    )
    crop: Literal["region", "centre"] = Field(
        "region",
        description="'region' the whole region, stretched to a square (area); 'centre' its central square less a tenth "
        "at each edge (cubic), as ECHO-CLIP's and EchoPrime's own code does",
    )
    channels: Literal["rgb", "bgr"] = Field("rgb", description="order of colours; 'bgr' as ECHO-CLIP's own examples")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="arithmetic of the forward pass"
    )
    batch_frames: Count = Field(64, description="frames a forward pass, of as many clips as it takes")
    target: Literal["frames", "clips", "autocorrelation"] = Field(
        "frames",
        description="a study's Gaussian: 'frames' as published, frames count as independent; 'clips' every clip "
        "counts alike; 'autocorrelation' neighbouring frames are known to be alike",
    )
    variance_epsilon: Positive = Field(1e-8, description="added to the variance before the logarithm (METHOD)")
    still_study: Literal["epsilon", "median"] = Field(
        "median",
        description="variance of a study whose vectors are all alike, as that of a single vector: 'epsilon' as "
        "published; 'median' that of the other studies, since one vector does not tell a study for certain",
    )
    max_refused_share: Share = Field(
        0.5, description="fail when more than this share of the echo files is refused; MIMIC-IV-ECHO holds many stills"
    )

    @model_validator(mode="after")
    def _check_sampling(self) -> Self:
        if self.frames_per_second and self.frame_stride > 1:
            raise ValueError("frame_stride: is 1 where frames_per_second is given")
        return self


class SplitShares(Section):
    """Shares of patients on each side of the split. They sum to 1."""

    train: Share = Field(0.8, description="share of patients to train on")
    validation: Share = Field(0.1, description="share for early stopping, thresholds and calibration")
    test: Share = Field(0.1, description="share for the reported numbers alone")

    @model_validator(mode="after")
    def _check_sum(self) -> Self:
        if not isclose(self.train + self.validation + self.test, 1.0, abs_tol=1e-9):
            raise ValueError("split shares do not sum to 1")
        return self


class StatedSplit(Section):
    """A published split, stated by the export for its ECGs, such as PTB-XL's folds: it replaces shares and key.

    A patient is on the most held-out side that a statement about one of its ECGs names: test, then validation, then
    train. Any value that is not listed here means train, and a patient without a statement trains.
    """

    measurement: str = Field(min_length=1, description="statement about ECGs that names the side, as strat_fold")
    validation: tuple[float | str, ...] = Field(
        min_length=1, description="its values, numbers or words in any case, that mean the validation side"
    )
    test: tuple[float | str, ...] = Field(min_length=1, description="its values that mean the test side")

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        validation, test = ({plain_value(value) for value in side} for side in (self.validation, self.test))
        if both := validation & test:
            raise ValueError(f"validation and test: both hold '{min(both)}'")
        return self


def plain_value(value: float | str) -> str:
    """Returns the form in which values are compared: 9, 9.0 and '9' are one, and so are 'Val' and ' val'."""
    return f"{value:.12g}" if isinstance(value, float | int) else " ".join(value.casefold().split())


class LabelSettings(Section):
    """Which ECG a measured value labels. Values that the export states for one ECG belong to it whatever the rule."""

    rule: Literal["nearest", "every", "before", "first"] = Field(
        "nearest",
        description="'nearest': an exam labels the ECG nearest to it; 'every': an ECG takes its values from the exam "
        "nearest to it; 'before': from the next exam, as where the ECG is to predict the echo; 'first': as 'every', "
        "for the first ECG of each patient alone",
    )
    window_hours: NotNegative = Field(24.0 * 7, description="largest time between an exam and the ECG it labels, h")
    exam_types: tuple[str, ...] = Field(
        ("tte",),
        description="exams that count, in lower case as the export names them; () for all. An exam without a stated "
        "type counts, and so does one that is linked to an echo study",
    )


class PairsSettings(Section):
    """Section `pairs`: time windows, labels, texts and the split of patients."""

    later_fields = ("split_by",)

    window_hours: NotNegative = Field(24.0 * 7, description="largest time between an echo study and its ECG, h")
    measurement_window_hours: NotNegative = Field(
        24.0, description="largest time between a study and a measurement that names no study, h"
    )
    labels: LabelSettings = LabelSettings()
    text_methods: tuple[Method, ...] = Field(
        ("ECG", "ECHO"), description="reports paired with an ECG: its own, and that of its paired echo study"
    )
    split: SplitShares = SplitShares()
    split_key: str = Field("echoingecg", min_length=1, description="key of the hash that splits patients")
    split_by: StatedSplit | None = Field(
        None, description="published split that the export states for its ECGs or studies; null for the keyed hash"
    )


class ModelSettings(Section):
    """Architecture of the student (EchoingECG, table in METHOD)."""

    embed_dim: Count = Field(512, description="shared embedding width; the teacher's width")
    init_dim: Count = Field(96, description="stem width of the ECG encoder")
    width_factors: tuple[Count, ...] = Field((2, 4, 8, 16), description="stage widths as multiples of init_dim")
    blocks: tuple[Count, ...] = Field((3, 4, 23, 3), description="basic blocks a stage")
    gpo_dim: Count = Field(32, description="hidden width of the generalised pooling operator")
    text: str = Field(
        "dmis-lab/biobert-v1.1",
        description="Hugging Face name or local folder of a BERT, or 'built-in' (small, needs no download)",
    )
    text_width: Count = Field(96, description="built-in text tower: hidden width")
    text_layers: Count = Field(2, description="built-in text tower: layers")
    text_heads: Count = Field(4, description="built-in text tower: attention heads")
    text_tokens: Annotated[int, Field(ge=8)] = Field(256, description="tokens a text at most")
    log_var_start: float | None = Field(
        None,
        description="mean log-variance at the start; log(1/embed_dim) keeps logits off saturation. "
        "null leaves the published start, near 0",
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if len(self.width_factors) != len(self.blocks):
            raise ValueError("width_factors and blocks differ in length")
        if self.text == BUILT_IN_TEXT and self.text_width % self.text_heads:
            raise ValueError(f"text_width {self.text_width} is not a multiple of text_heads {self.text_heads}")
        return self


class AugmentSettings(Section):
    """Random changes to the training ECGs, drawn anew for each ECG and epoch. All are off by default."""

    amplitude: Share = Field(0.0, description="gain of an ECG, drawn from 1 - this to 1 + this")
    wander_mv: NotNegative = Field(
        0.0,
        description="baseline wander of the electrodes, a sine of 0.5 to 1 Hz: largest amplitude in the lead that has "
        "most of it, drawn for each ECG from 0 up, mV",
    )
    noise_mv: NotNegative = Field(
        0.0,
        description="noise of the electrodes, white from 0.5 to 40 Hz: largest standard deviation in leads I to III, "
        "drawn for each ECG from 0 up, mV",
    )
    shift_seconds: NotNegative = Field(0.0, description="largest shift in time, either way; the gap stays flat, s")
    lead_dropout: Share = Field(0.0, description="probability that a lead is flattened")

    @property
    def used(self) -> bool:
        """True if any change is on."""
        return any(value > 0 for value in self.model_dump().values())


class LeadMasking(Section):
    """Training ECGs of which only some leads are left, drawn anew for each ECG and epoch. Off by default."""

    share: Share = Field(0.0, description="probability that a training ECG is masked")
    sets: tuple[LeadSet, ...] = Field(
        (), description="sets of leads, of which a masked ECG keeps one, drawn; `predict` then reads records of these"
    )
    random: Share = Field(
        0.0,
        description="probability that a masked ECG keeps random leads instead, one to eleven, each number as likely",
    )

    @model_validator(mode="after")
    def _check_sets(self) -> Self:
        if self.share and self.random < 1 and not self.sets:
            raise ValueError("sets: name at least one, or set random to 1")
        if self.sets and not self.share:
            raise ValueError("share: is above 0 where sets are named")
        return self

    @property
    def trained(self) -> tuple[LeadSet, ...]:
        """Sets of leads that the student learns from: twelve, and those that are named."""
        return tuple(dict.fromkeys(("twelve", *self.sets)))


class StudentSettings(Section):
    """Section `student`: training of the student. Loss: PCME++ (Chun, ICLR 2024) as METHOD states it."""

    later_fields = ("leads", "encoder", "encoder_weights", "encoder_tuning", "lora_rank")

    model: ModelSettings = ModelSettings()
    encoder: str = Field(
        PAPER_ENCODER,
        pattern=r"^([\w-]+|[\w.]+:\w+)$",
        description="ECG encoder under the heads: 'paper' (the published one, by `model`), 'ecgfounder', 'ecg-fm', "
        "'hubert-ecg', 'merl', or 'package.module:Class', which is code of yours that runs",
    )
    encoder_weights: str = Field("", description="file or folder of another encoder's weights")
    encoder_tuning: EncoderTuning = Field("full", description="what of another encoder learns: all, nothing, adapters")
    lora_rank: Count = Field(8, description="encoder_tuning lora: rank of the adapters beside its layers")
    warm_start: str = Field(
        "", description="artefact name or alias of an earlier student to start from; empty starts from nothing"
    )
    loss: Literal["pcmepp", "mean_only", "infonce"] = Field(
        "pcmepp",
        description="'pcmepp' as published; for ablations 'mean_only' (its form without variances and KL) and "
        "'infonce' (symmetric, cosine of the means)",
    )
    variance: Literal["pcmepp", "likelihood"] = Field(
        "pcmepp",
        description="what teaches an ECG its variance: 'pcmepp' the matching alone, as published; 'likelihood' also "
        "the likelihood of the study's mean under the ECG's Gaussian, for ECG-echo pairs",
    )
    same_partner: Literal["match", "negative"] = Field(
        "negative",
        description="an ECG and the partner of another one that is the same study or an equal text: 'match' as its "
        "own, 'negative' as published, where each ECG matches the one row of its own",
    )
    likelihood_weight: Positive = Field(1.0, description="variance likelihood: weight of that term")
    gather_negatives: bool = Field(
        True, description="with several processes: the loss is that of the whole batch, not of each one's share"
    )
    scale_start: float = Field(5.0, description="start of the learned logit scale")
    shift_start: float = Field(5.0, description="start of the learned logit shift")
    temperature_start: Positive = Field(0.07, description="infonce: start of the learned temperature (CLIP's)")
    match_weight: NotNegative = Field(2.0, description="weight of the match BCE")
    kl_weight: NotNegative = Field(1e-4, description="weight of the KL terms to N(0, I)")
    kl_limit: Positive = Field(10_000.0, description="a KL mean above this is left out of the sum")
    pseudo_positive_weight: NotNegative = Field(0.1, description="weight of the pseudo-positive BCE")
    echo_weight: NotNegative = Field(1.0, description="weight of the ECG-echo loss; 0 leaves it out")
    text_weight: NotNegative = Field(1.0, description="weight of the ECG-text loss; 0 leaves it out")
    epochs: Count = Field(30, description="passes over the training pairs")
    batch_size: Annotated[int, Field(ge=2)] = Field(128, description="pairs a batch, over all processes together")
    learning_rate: Positive = Field(3e-5, description="AdamW peak learning rate")
    weight_decay: NotNegative = Field(0.01, description="AdamW weight decay")
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="AdamW betas")
    warmup_share: Share = Field(0.03, description="share of the steps spent on linear warm-up")
    warmup_start: Share = Field(0.001, description="first learning rate as a share of the peak")
    gradient_clip: Positive = Field(1.0, description="largest gradient norm")
    loss_limit: Positive | None = Field(1e6, description="stop when a training loss is beyond this; null never")
    gradient_limit: Positive | None = Field(
        1e6, description="stop when a gradient norm, before clipping, is beyond this; null never"
    )
    freeze_batch_norm: bool = Field(
        False, description="use the running statistics as they are, for warm starts from small batches"
    )
    augment: AugmentSettings = AugmentSettings()
    leads: LeadMasking = Field(LeadMasking(), description="fewer leads in training")
    precision: Literal["float32", "bfloat16"] = Field("bfloat16", description="autocast of the forward pass")
    patience: Count = Field(10, description="stop after this many epochs without a better validation loss")
    checkpoint_steps: Count = Field(200, description="optimiser steps between checkpoints")
    seed: int = Field(43, description="initialisation, batch order, dropout, augmentation")

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.echo_weight == 0 and self.text_weight == 0:
            raise ValueError("echo_weight and text_weight are both 0: nothing to learn from")
        if self.variance == "likelihood" and (self.loss != "pcmepp" or self.echo_weight == 0):
            raise ValueError("variance likelihood needs loss pcmepp and an echo_weight above 0")
        if self.encoder == PAPER_ENCODER and (self.encoder_weights or self.encoder_tuning != "full"):
            raise ValueError("encoder_weights and encoder_tuning are for another encoder than 'paper'")
        if self.encoder_tuning != "full" and not (self.encoder_weights or self.warm_start):
            raise ValueError(f"encoder_tuning {self.encoder_tuning} keeps the encoder's weights: set encoder_weights")
        return self
