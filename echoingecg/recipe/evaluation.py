"""Parameters of stage evaluation, and the rules of `echoingecg drift` and `echoingecg promote`.

docs/protocols.md has sources and a worked example. No version depends on the sections `drift` and `promotion`.
"""

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from data_contracts.prediction import ReferralKind
from echoingecg.recipe.stages import Count, NotNegative, OpenShare, Positive, Section, Share

NUMBER_PLACEHOLDER = "<#>"  # where a number goes in a prompt (as in ECHO-CLIP)
CalibrationChoice = Literal["validation", "platt", "isotonic", "none"]
TuningMethod = Literal["fine_tune", "lora", "scratch"]
Name = Annotated[str, StringConstraints(min_length=1)]
# In the tables, '@' separates protocol and model.
ModelName = Annotated[str, StringConstraints(min_length=1, pattern="^[^@]+$")]
Prompt = Annotated[str, StringConstraints(min_length=1)]
NumberPrompt = Annotated[str, StringConstraints(pattern=NUMBER_PLACEHOLDER)]


class MeasurementEndpoint(Section):
    """What all endpoints have: a measurement of the echo, or a statement about the ECG, its unit and valid range."""

    name: str = Field(min_length=1, description="short name, used in tables and figures")
    measurement: Name | Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        description="measurement of the export, for example lvef; of several names the first that an ECG has a value of"
    )
    unit: str = Field(description="unit of threshold and range, to which others of its kind are converted")
    valid_range: tuple[float, float] = Field(description="values outside are impossible and left out, in `unit`")
    source: str = Field("", description="where threshold or range come from")

    @property
    def measurements(self) -> tuple[str, ...]:
        """Names of the measurement in the export, the preferred one first."""
        return (self.measurement,) if isinstance(self.measurement, str) else self.measurement

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.valid_range[0] >= self.valid_range[1]:
            raise ValueError(f"valid_range: {self.valid_range[0]:g} is not below {self.valid_range[1]:g}")
        return self


class ThresholdBySex(Section):
    """One threshold per sex. A patient whose sex the export does not state as F or M gets no label."""

    F: float = Field(description="of women, in the endpoint's unit")
    M: float = Field(description="of men, in the endpoint's unit")

    def __format__(self, spec: str) -> str:
        """Formats both thresholds with one number format: `52.2 (F), 58.4 (M)`."""
        return ", ".join(f"{value:{spec}} ({sex})" for sex, value in self)


def _number_or_sexes(value: object) -> str:
    return "by_sex" if isinstance(value, dict | ThresholdBySex) else "number"


class Endpoint(MeasurementEndpoint):
    """A yes/no question about the echo: a number and a threshold, findings in words, or a flag of 0 and 1.

    A flag needs no more than its measurement: the defaults of unit, range, comparison and threshold are those of one.
    """

    unit: str = Field(
        "", description="unit of threshold and range; measurements in other units of its kind are converted"
    )
    valid_range: tuple[float, float] = Field(
        (0.0, 1.0), description="values outside are impossible and left out, in `unit`"
    )
    comparison: Literal["<", "<=", ">", ">="] = Field(">=", description="label 1 when `value comparison threshold`")
    threshold: Annotated[
        Annotated[float, Tag("number")] | Annotated[ThresholdBySex, Tag("by_sex")], Discriminator(_number_or_sexes)
    ] = Field(1.0, description="in `unit`: a number, or one for each sex as {F: 52.2, M: 58.4}")
    positive_words: tuple[Name, ...] = Field((), description="findings in words that say label 1, in any case")
    negative_words: tuple[Name, ...] = Field((), description="findings in words that say label 0; others give no label")
    combine: Literal["first", "any"] = Field(
        "first",
        description="of several measurements 'first' takes the first that gives a label, 'any' label 1 of any of them",
    )
    positive_prompts: tuple[Prompt, ...] = Field(min_length=1, description="echo sentences that say label 1")
    negative_prompts: tuple[Prompt, ...] = Field(min_length=1, description="echo sentences that say label 0")

    @model_validator(mode="after")
    def _check_threshold(self) -> Self:
        low, high = self.valid_range
        limit = self.threshold
        for value in (limit.F, limit.M) if isinstance(limit, ThresholdBySex) else (limit,):
            if not low <= value <= high:
                raise ValueError(
                    f"threshold: {value:g} is outside valid_range, {low:g} to {high:g} {self.unit}".rstrip()
                )
        plain = [
            {" ".join(text.casefold().split()) for text in words}
            for words in (self.positive_words, self.negative_words)
        ]
        if both := plain[0] & plain[1]:
            raise ValueError(f"positive_words and negative_words: both hold '{min(both)}'")
        return self


class RegressionEndpoint(MeasurementEndpoint):
    """A number measured on the echo."""

    prompts: tuple[NumberPrompt, ...] = Field(min_length=1, description="echo sentences with <#> where a number goes")
    prompt_range: tuple[float, float] = Field(description="smallest and largest number put in, in `unit`")
    prompt_step: Positive = Field(1.0, description="from one number to the next, in `unit`")

    @model_validator(mode="after")
    def _check_prompt_range(self) -> Self:
        if self.prompt_range[0] >= self.prompt_range[1]:
            raise ValueError(f"prompt_range: {self.prompt_range[0]:g} is not below {self.prompt_range[1]:g}")
        return self


class FewShotSettings(Section):
    """Logistic regression on the mean embeddings of a few labelled training ECGs."""

    cases: tuple[Count, ...] = Field(
        (1, 2, 4, 8, 16, 32, 64), description="ECGs of each class, each of its own patient; () for none"
    )
    draws: Annotated[int, Field(ge=2)] = Field(20, description="random choices of those ECGs")
    c: Positive = Field(1.0, description="inverse L2 strength")


class TuningSettings(Section):
    """Training of the whole encoder on labels, with early stopping on the validation split."""

    methods: tuple[TuningMethod, ...] = Field(
        (),
        description="'fine_tune' goes on from the student, 'lora' learns low-rank adapters beside its frozen weights, "
        "'scratch' is the same encoder from nothing; none is quick on a CPU",
    )
    epochs: Count = Field(30, description="passes over the labelled training ECGs at most")
    patience: Count = Field(5, description="stop after this many epochs without a better validation loss")
    batch_size: Annotated[int, Field(ge=2)] = Field(32, description="ECGs a step")
    fine_tune_rate: Positive = Field(1e-4, description="AdamW learning rate of fine_tune")
    lora_rate: Positive = Field(1e-3, description="AdamW learning rate of lora")
    scratch_rate: Positive = Field(2e-3, description="AdamW learning rate of scratch")
    weight_decay: NotNegative = Field(0.01, description="AdamW weight decay")
    rank: Count = Field(4, description="lora: rank of the adapters")

    def rate(self, method: TuningMethod) -> float:
        """Returns the learning rate of a method."""
        return {"fine_tune": self.fine_tune_rate, "lora": self.lora_rate, "scratch": self.scratch_rate}[method]


class EvaluationSettings(Section):
    """Section `evaluation`: the questions asked of the student, and how its answers are measured."""

    endpoints: tuple[Endpoint, ...] = Field((), description="yes/no questions asked of the student")
    regressions: tuple[RegressionEndpoint, ...] = Field((), description="numbers asked of the student")
    calibration: CalibrationChoice = Field(
        "validation",
        description="makes scores probabilities; 'validation': the better of Platt and isotonic on patients held out",
    )
    referral: ReferralKind = Field(
        "conformal",
        description="who is referred to echo: 'conformal' keeps miscoverage, 'nearest' refers about refer_share",
    )
    refer_share: Share = Field(
        0.2, description="referral 'nearest': share of the validation ECGs, those nearest to the threshold"
    )
    bootstrap_draws: Annotated[int, Field(ge=10)] = Field(1000, description="patient resamples for the intervals")
    probe_c: Positive = Field(1.0, description="inverse L2 strength of the linear probe")
    ridge: tuple[Positive, ...] = Field(
        (1.0, 10.0, 100.0, 1000.0), min_length=1, description="L2 strengths tried for regression, chosen on validation"
    )
    centre: bool = Field(
        False, description="zero-shot also with each modality's training mean taken off (Zhang et al., ICLR 2024)"
    )
    few_shot: FewShotSettings = FewShotSettings()
    tuning: TuningSettings = TuningSettings()
    compare: tuple[ModelName, ...] = Field(
        (), description="artefact names or aliases of other students, evaluated on the same patients"
    )
    external: dict[ModelName, str] = Field(
        {}, description="embeddings of other models: name -> Parquet file with content_hash and embedding"
    )
    specificity: OpenShare = Field(
        0.9, description="sensitivity is reported at this specificity of the validation ECGs"
    )
    miscoverage: OpenShare = Field(
        0.1, description="referral 'conformal': at most this share of each class is answered wrongly"
    )
    answer_by: Literal["expected_echo", "zero_shot"] = Field(
        "expected_echo",
        description="protocol by which `predict` answers unless told otherwise: 'expected_echo' with a predictive "
        "distribution, or 'zero_shot' as published",
    )
    stress_ecgs: Annotated[int, Field(ge=0)] = Field(
        200, description="test ECGs that the report's stress test disturbs, evenly spread; 0 leaves it out"
    )
    typical_share: OpenShare = Field(
        0.95,
        description="share of the validation ECGs that count as typical; ECGs further from the training are referred",
    )
    reliability_bins: Count = Field(10, description="bins of equal width behind the reliability diagram and ECE")
    prevalences: tuple[OpenShare, ...] = Field(
        (0.02, 0.05, 0.1, 0.2), description="shares of label 1 at which predictive values are stated"
    )
    target_prevalences: dict[Name, OpenShare] = Field(
        {},
        description="question -> its share of label 1 where the student is to be used, if you know it: table transfer "
        "also measures the probabilities corrected to it (Saerens et al. 2002)",
    )
    echo_thresholds: tuple[OpenShare, ...] = Field(
        (0.05, 0.1, 0.2, 0.3, 0.5), description="decision curve: probabilities from which one would send to echo"
    )
    age_bands: tuple[Positive, ...] = Field(
        (40.0, 65.0, 80.0), description="lower ends of the age strata above the first, a"
    )
    leave_one_site_out: bool = Field(
        False,
        description="judge each site by thresholds, calibrators and probes of the other sites; the student stays as "
        "it is. Takes about as long again for each site",
    )
    teacher_least_auroc: Share = Field(
        0.6,
        description="a run warns where the teacher's own answers to a question, from the echo, have a lower AUROC "
        "against the echo's measurements",
    )
    teacher_least_correlation: Share = Field(
        0.3, description="a run warns where the teacher's own numbers correlate less (Pearson) with the measured ones"
    )
    seed: int = Field(43, description="bootstrap resamples, few-shot draws, tuning")

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for kind in (self.endpoints, self.regressions):
            names = [endpoint.name for endpoint in kind]
            if len(names) != len(set(names)):
                raise ValueError("two endpoints share a name")
        if unknown := self.target_prevalences.keys() - {endpoint.name for endpoint in self.endpoints}:
            raise ValueError(f"target_prevalences: no endpoint is called '{min(unknown)}'")
        models = ["student", *self.compare, *self.external]  # the first is the one under test
        if len(models) != len(set(models)):
            raise ValueError("compare and external: two models share a name, or one is called 'student'")
        return self


class DriftSettings(Section):
    """The rule of `echoingecg drift`: a measure has drifted if it is beyond its limit and more than chance."""

    embedding: NotNegative = Field(0.02, description="limit of the squared MMD of the mean embeddings, without unit")
    p: OpenShare = Field(0.01, description="and its permutation p must be below this")
    prevalence: Share = Field(0.1, description="limit of the change of an endpoint's share of label 1")
    share: Share = Field(0.15, description="limit of the change of the share of a subgroup or a quality finding")
    least_patients: Count = Field(50, description="with fewer patients in the new ECGs there is no verdict")
    draws: Annotated[int, Field(ge=10)] = Field(1000, description="patient resamples for the intervals")
    seed: int = Field(43, description="of resamples, permutations and of the ECGs drawn")


class PromotionSettings(Section):
    """The rule of `echoingecg promote`. Differences are challenger minus champion, on the same test patients."""

    endpoint: str = Field("", description="endpoint that must gain; empty for the first of the champion's")
    protocol: str = Field("zero_shot", description="protocol whose predictions are compared")
    metric: Literal["auroc", "balanced_accuracy"] = Field("auroc", description="metric that is compared")
    least_gain: float = Field(
        0.0, description="promote only if the interval's lower end of the gain at `endpoint` is above this"
    )
    most_loss: NotNegative = Field(0.05, description="and if at every other endpoint the lower end is above minus this")
    least_shared: Share = Field(
        0.5,
        description="the champion is frozen when the challenger was tested on less than this share of its test labels",
    )
    draws: Annotated[int, Field(ge=10)] = Field(1000, description="patient resamples, the same for both students")
    seed: int = Field(43, description="of the resamples")
