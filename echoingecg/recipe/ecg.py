"""Parameters of stage ecg: windows, filter and quality limits. docs/ecg_quality.md gives the limits' sources."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from data_contracts.conventions import LeadFinding, RecordFinding
from echoingecg.recipe.stages import Count, NotNegative, Positive, Section, Share


class EcgSettings(Section):
    """Section `ecg`. Filter and resampling as in EchoingECG: a zero-phase Butterworth filter, then polyphase."""

    band_low: Positive = Field(0.5, description="lower edge of the band-pass, Hz")
    band_high: Positive = Field(40.0, description="upper edge of the band-pass, Hz")
    edge_limit: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.45, description="the upper edge is at most this share of the target sampling frequency"
    )
    filter_order: Count = Field(4, description="Butterworth order, applied forward and backward")
    kaiser_beta: NotNegative = Field(5.0, description="Kaiser window of the polyphase resampler")
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
    flat_mv: NotNegative = Field(0.01, description="flag a lead whose peak-to-peak range is under this, mV")
    clipped_share: Share = Field(0.05, description="flag a lead that sits at its extreme for more than this share")
    min_duration: Positive = Field(
        10.0, description="refuse recordings shorter than this, s; one sample may be missing"
    )
    baseline_mv: Positive = Field(
        2.0, description="flag a lead whose unfiltered level (median of one-second means) is beyond this, mV"
    )
    amplitude_mv: Positive = Field(5.0, description="flag a lead whose filtered amplitude is beyond this, mV")
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
    typical_low_mv: NotNegative = Field(
        0.3,
        description="refuse a recording (implausible) whose median lead has less from peak to peak, mV: its gain must "
        "be wrong; 0 refuses none",
    )
    typical_high_mv: Positive = Field(4.5, description="and one whose median lead has more, mV")
    refuse: tuple[LeadFinding | RecordFinding, ...] = Field(
        (),
        description="findings that refuse a recording (poor_quality) instead of flagging it; see docs/ecg_quality.md",
    )
    refuse_leads: Annotated[int, Field(ge=1, le=12)] = Field(
        1, description="a finding per lead refuses the recording when this many leads have it"
    )
    max_refused_share: Share = Field(0.2, description="fail when more than this share of the ECGs is refused")

    @model_validator(mode="after")
    def _band(self) -> Self:
        if self.band_low >= self.band_high:
            raise ValueError(f"band_low {self.band_low} Hz is not below band_high {self.band_high} Hz")
        if self.rate_low >= self.rate_high:
            raise ValueError(f"rate_low {self.rate_low} is not below rate_high {self.rate_high}")
        return self
