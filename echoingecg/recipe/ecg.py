"""Parameters of stage ecg: windows, filter and quality limits. docs/ecg_quality.md gives the limits' sources."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from data_contracts.conventions import FindingRule, LeadSet
from echoingecg.recipe.stages import Count, NotNegative, Positive, Section, Share


class FindingRules(Section):
    """What each quality finding does to its ECG; a finding on one lead is enough.

    `keep`: nothing; `leave_out`: not used for training; `refer`: not used for training, and a prediction refers the ECG
    to echo; `refuse`: no signal, poor_quality in the quarantine. The strictest rule of an ECG's findings counts.
    """

    no_signal: FindingRule = Field("refuse", description="all twelve leads are flat")
    no_qrs: FindingRule = Field("refuse", description="no QRS complexes, or at a rate no heart has")
    limb_leads: FindingRule = Field("refer", description="the limb leads contradict each other: names exchanged")
    chest_leads: FindingRule = Field("refer", description="two chest leads would follow each other better exchanged")
    limb_electrodes: FindingRule = Field(
        "refer", description="the right arm's electrode is exchanged with another limb's"
    )
    heart_rate: FindingRule = Field(
        "refer", description="the heart rate that the file states is not the one that is measured: wrong sampling rate"
    )
    repeated_block: FindingRule = Field("refer", description="a part of the recording is stored twice")
    calibration_pulse: FindingRule = Field("refer", description="a calibration pulse stands in the window")
    short: FindingRule = Field("refer", description="less than 10 s recorded")
    flat: FindingRule = Field("refer", description="a lead is flat throughout")
    flat_seconds: FindingRule = Field("refer", description="a lead holds one value for a second or more")
    clipped: FindingRule = Field("refer", description="a lead is cut off at a highest or lowest value")
    amplitude: FindingRule = Field("refer", description="a lead has a voltage that no heart gives")
    disconnected: FindingRule = Field("refer", description="a lead does not show the beats of the others")
    absent: FindingRule = Field("refer", description="leads are not there: the record is of a smaller set of leads")
    gain: FindingRule = Field("refer", description="a lead's gain is unlike that of the others")
    baseline: FindingRule = Field("keep", description="a lead stands far from 0 mV: the filter removes it")
    mains: FindingRule = Field("keep", description="mains hum: the filter removes most of it")
    nan: FindingRule = Field("keep", description="missing samples, interpolated: `max_nan_share` bounds them")


class EcgSettings(Section):
    """Section `ecg`. Filter and resampling as in EchoingECG: a zero-phase Butterworth filter, then polyphase."""

    later_fields = ("lead_sets",)

    band_low: Positive = Field(0.5, description="lower edge of the band-pass, Hz")
    band_high: Positive = Field(40.0, description="upper edge of the band-pass, Hz")
    edge_limit: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.45, description="the upper edge is at most this share of the target sampling frequency"
    )
    filter_order: Count = Field(4, description="Butterworth order, applied forward and backward")
    kaiser_beta: NotNegative = Field(5.0, description="Kaiser window of the polyphase resampler")
    edge: Literal["mirror", "published"] = Field(
        "mirror",
        description="what stands for the signal beyond the ends of a window: 'mirror' the recording itself where it "
        "goes on, else 8 s of it mirrored; 'published' 27 samples, as the published weights were trained on",
    )
    lead_sets: tuple[LeadSet, ...] = Field(
        ("twelve",),
        min_length=1,
        description="sets of leads that a record may hold: the largest that is there counts, and other leads are left "
        "out; III, aVR, aVL and aVF are computed where I and II are there",
    )
    max_nan_share: Share = Field(
        0.0,
        description="refuse a record when a lead misses more than this share of samples; "
        "below it the gaps are interpolated and the lead is flagged",
    )
    short: Literal["pad", "repeat", "refuse"] = Field(
        "pad",
        description="what fills up to 10 s a recording that min_duration admits: 0 mV, or the recording once more; "
        "refuse admits none, whatever min_duration says",
    )
    long: Literal["first", "best", "several"] = Field(
        "first",
        description="which 10 s of a longer recording count: the first; the first of those with least found; or "
        "several windows, each as an ECG of its own",
    )
    window_step: Positive = Field(5.0, description="best, several: time between the starts of windows, s")
    most_windows: Count = Field(6, description="several: windows of a recording at most, from its start")
    flat_mv: NotNegative = Field(
        0.01, description="flag a lead whose peak-to-peak range is under this, throughout or for 1 s, mV"
    )
    flat_noise_mv: NotNegative = Field(
        0.03,
        description="or under this for 1.5 s, mV: a held value and the noise of two steps of 5 uV; real leads: 0.11",
    )
    clipped_share: Share = Field(
        0.04, description="flag a lead that sits at its extreme for more than this share of a second; real leads: 0.02"
    )
    min_duration: Positive = Field(
        10.0, description="refuse recordings shorter than this, s; one sample may be missing"
    )
    baseline_mv: Positive = Field(
        2.0, description="flag a lead whose unfiltered level (median of one-second means) is beyond this, mV"
    )
    amplitude_mv: Positive = Field(
        8.0,
        description="flag a lead whose filtered amplitude is beyond this, mV; the largest hearts reach 6, spikes 12",
    )
    lead_contrast: NotNegative = Field(
        1.5,
        description="flag as disconnected a lead whose slope at the recording's beats has less than this many times "
        "the energy of that between them; noise reaches 1.4 in 99 of 100, real leads stay above 1.8",
    )
    mains_share: Share = Field(
        0.05, description="flag a lead with more than this share of its power at a mains frequency, before the filter"
    )
    mains_frequencies: tuple[Positive, ...] = Field((50.0, 60.0), description="mains frequencies looked for, Hz")
    qrs_contrast: NotNegative = Field(
        3.0,
        description="QRS complexes are found where at least three leads reach this contrast; noise common to all leads "
        "reaches 2.5, real recordings stay above 20",
    )
    rate_low: NotNegative = Field(20.0, description="at fewer beats a minute, none counts as a QRS complex, 1/min")
    rate_high: Positive = Field(300.0, description="at more beats a minute, none counts as a QRS complex, 1/min")
    limb_lead_share: NotNegative = Field(
        0.1,
        description="flag a recording whose limb leads miss Einthoven's or Goldberger's identities by more than this "
        "share of their size; sound recordings miss by under 0.02, two names exchanged by over 0.2",
    )
    limb_lead_mv: NotNegative = Field(0.02, description="and by more than this, root mean square, mV: rounding is less")
    chest_lead_gain: NotNegative = Field(
        0.1,
        description="flag a recording whose chest leads, with two of them exchanged, correlate by this more with the "
        "next one (sum over V1 to V6, of 5)",
    )
    limb_electrode_gain: NotNegative = Field(
        0.05,
        description="flag a recording that one heart vector explains better with the right arm's electrode exchanged: "
        "by this logarithm of the ratio of what it leaves unexplained; 98 of 100 real recordings stay below",
    )
    lead_gain: NotNegative = Field(
        2.1,
        description="flag a lead whose size beside its neighbours' is this many times as unusual (logarithm of the "
        "ratio) as what 95 of 100 real leads stay within",
    )
    heart_rate_factor: Annotated[float, Field(gt=1)] = Field(
        1.5, description="flag a recording whose stated heart rate and measured one differ by more than this factor"
    )
    typical_low_mv: NotNegative = Field(
        0.3,
        description="refuse a recording (implausible) whose median lead has less from peak to peak, mV: its gain must "
        "be wrong; 0 refuses none",
    )
    typical_high_mv: Positive = Field(4.5, description="and one whose median lead has more, mV")
    rules: FindingRules = Field(FindingRules(), description="what each quality finding does to its ECG")
    max_refused_share: Share = Field(0.2, description="fail when more than this share of the ECGs is refused")

    @property
    def admits_fewer(self) -> bool:
        """Whether records with fewer than twelve leads are admitted."""
        return self.lead_sets != ("twelve",)

    @classmethod
    def of_artefact(cls, values: Mapping[str, Any]) -> Self:
        """Returns the settings that a manifest or a reading card states; before there was `edge` it was `published`."""
        return cls.model_validate({"edge": "published"} | dict(values))

    @model_validator(mode="before")
    @classmethod
    def _rules_of_earlier_releases(cls, values: Any) -> Any:
        """Reads `refuse` and `refuse_leads` of manifests and reading cards that were written before `rules`.

        A finding that refused a recording on some leads refuses it on one; the others have today's rules.
        """
        if not isinstance(values, dict) or not {"refuse", "refuse_leads"} & values.keys():
            return values
        rest = {name: value for name, value in values.items() if name not in ("refuse", "refuse_leads")}
        return rest | {"rules": dict.fromkeys(values.get("refuse", ()), "refuse") | dict(rest.get("rules", {}))}

    @model_validator(mode="after")
    def _band(self) -> Self:
        if self.band_low >= self.band_high:
            raise ValueError(f"band_low {self.band_low} Hz is not below band_high {self.band_high} Hz")
        if self.rate_low >= self.rate_high:
            raise ValueError(f"rate_low {self.rate_low} is not below rate_high {self.rate_high}")
        return self
