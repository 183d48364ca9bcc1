"""DICOM waveforms against pydicom's own arrays; damaged and foreign files."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from data_contracts.conventions import LEADS
from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange
from echoingecg.ecg.decode.recording.leads import canonical_lead

ECG = Path(str(get_testdata_file("waveform_ecg.dcm")))


def changed(folder: Path, change: Callable[[Dataset], object]) -> Path:
    """A copy of the ECG with its rhythm group changed."""
    dataset = pydicom.dcmread(ECG)
    change(dataset.WaveformSequence[0])
    dataset.save_as(folder / "changed.dcm")
    return folder / "changed.dcm"


def channels(change: Callable[[Dataset], object]) -> Callable[[Dataset], object]:
    return lambda group: [change(channel) for channel in group.ChannelDefinitionSequence]


def test_the_rhythm_in_millivolts() -> None:
    """pydicom gives microvolts; the file stores leads in clinical order."""
    dataset = pydicom.dcmread(ECG)
    expected = dataset.waveform_array(0).T / 1000
    found = decode(ECG)
    np.testing.assert_allclose(found.signal, expected, atol=1e-12)
    assert found.sampling_frequency == 1000
    assert found.signal.shape == (12, 10000)
    clinical = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    assert found.leads == clinical
    np.testing.assert_array_equal(arrange(found), found.signal[[clinical.index(lead) for lead in LEADS]])


def test_the_rhythm_is_found_wherever_it_stands(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(ECG)
    dataset.WaveformSequence = [dataset.WaveformSequence[1], dataset.WaveformSequence[0]]
    dataset.save_as(tmp_path / "swapped.dcm")
    np.testing.assert_array_equal(decode(tmp_path / "swapped.dcm").signal, decode(ECG).signal)


@pytest.mark.parametrize(("unit", "factor"), [("mV", 1000.0), ("V", 1.0), ("uV", 1e6), ("nV", 1e9)])
def test_unit_baseline_and_correction(tmp_path: Path, unit: str, factor: float) -> None:
    """1.25 uV a step, written in another unit, half as sensitivity and half as correction, 1 mV of baseline."""

    def rewrite(channel: Dataset) -> None:
        channel.ChannelSensitivity = f"{0.625e-6 * factor:.8g}"
        channel.ChannelSensitivityCorrectionFactor = "2"
        channel.ChannelBaseline = f"{1e-3 * factor:.8g}"
        channel.ChannelSensitivityUnitsSequence[0].CodeValue = unit

    found = decode(changed(tmp_path, channels(rewrite)))
    np.testing.assert_allclose(found.signal, decode(ECG).signal + 1.0, atol=1e-9)


def test_codes_of_11073_and_plain_labels_name_leads(tmp_path: Path) -> None:
    def to_mdc(channel: Dataset) -> None:
        source = channel.ChannelSourceSequence[0]
        source.CodeValue, source.CodingSchemeDesignator = "2:" + source.CodeValue.rpartition("-")[2], "MDC"
        source.CodeMeaning = "?"

    def to_label(channel: Dataset) -> None:
        channel.ChannelLabel = canonical_lead(channel.ChannelSourceSequence[0].CodeMeaning)
        del channel.ChannelSourceSequence

    expected = arrange(decode(ECG))
    for change in (to_mdc, to_label):
        np.testing.assert_array_equal(arrange(decode(changed(tmp_path, channels(change)))), expected)


def test_padding_is_missing(tmp_path: Path) -> None:
    def pad(group: Dataset) -> None:
        stored = np.frombuffer(group.WaveformData, "<i2").reshape(10000, 12).copy()
        stored[500:600, 4] = -32768
        group.WaveformData = stored.tobytes()
        group.add_new("WaveformPaddingValue", "OW", np.int16(-32768).tobytes())

    found = decode(changed(tmp_path, pad)).signal
    assert np.isnan(found[4, 500:600]).all()
    assert np.isnan(found).sum() == 100


def padded(change: Callable[[np.ndarray], object], padding: int) -> Callable[[Dataset], None]:
    """Changes the stored values, (time, 12) int16, and states the padding value."""

    def pad(group: Dataset) -> None:
        stored = np.frombuffer(group.WaveformData, "<i2").reshape(10000, 12).copy()
        change(stored)
        group.WaveformData = stored.tobytes()
        group.add_new("WaveformPaddingValue", "OW", np.int16(padding).tobytes())

    return pad


def test_a_padding_value_may_be_a_number(tmp_path: Path) -> None:
    def pad(group: Dataset) -> None:
        padded(lambda stored: stored[500:600, 4].fill(-32768), -32768)(group)
        del group.WaveformPaddingValue
        group.add_new("WaveformPaddingValue", "SS", -32768)

    assert np.isnan(decode(changed(tmp_path, pad)).signal).sum() == 100


@pytest.mark.parametrize("padding", [0, 10, -40, 80])
def test_a_padding_value_that_the_signal_takes_is_signal(tmp_path: Path, padding: int) -> None:
    path = changed(tmp_path, padded(lambda stored: None, padding))
    np.testing.assert_array_equal(decode(path).signal, decode(ECG).signal)


def test_padding_at_the_ends_is_missing_whatever_its_value(tmp_path: Path) -> None:
    def late_and_early(stored: np.ndarray) -> None:
        stored[:2500, 3], stored[7000:, 5] = 0, 0
        stored[2500, 3], stored[6999, 5] = 8, 8  # 0.01 mV

    found = decode(changed(tmp_path, padded(late_and_early, 0))).signal
    expected = decode(ECG).signal
    expected[3, :2500] = expected[5, 7000:] = np.nan
    expected[3, 2500] = expected[5, 6999] = 0.01
    np.testing.assert_array_equal(found, expected)


def test_frames_of_nothing_but_padding_at_the_ends_are_left_out(tmp_path: Path) -> None:
    def ends(stored: np.ndarray) -> None:
        stored[:40] = stored[9999:] = 0

    found = decode(changed(tmp_path, padded(ends, 0))).signal
    np.testing.assert_array_equal(found, decode(ECG).signal[:, 40:9999])


def spread(
    folder: Path, sizes: list[int], change: Callable[[Dataset, int], object] = lambda group, number: None
) -> Path:
    """The rhythm group in several, of so many channels each."""
    dataset = pydicom.dcmread(ECG)
    whole, *rest = dataset.WaveformSequence
    stored = np.frombuffer(whole.WaveformData, "<i2").reshape(10000, 12)
    groups, first = [], 0
    for number, size in enumerate(sizes):
        group = pydicom.dcmread(ECG).WaveformSequence[0]
        group.ChannelDefinitionSequence = list(whole.ChannelDefinitionSequence)[first : first + size]
        group.NumberOfWaveformChannels = size
        group.WaveformData = np.ascontiguousarray(stored[:, first : first + size]).tobytes()
        change(group, number)
        groups.append(group)
        first += size
    dataset.WaveformSequence = [*groups, *rest]
    dataset.save_as(folder / "spread.dcm")
    return folder / "spread.dcm"


@pytest.mark.parametrize("sizes", [[3, 3, 3, 3], [6, 6], [8, 4], [1] * 12])
def test_leads_of_several_groups_belong_together(tmp_path: Path, sizes: list[int]) -> None:
    np.testing.assert_array_equal(arrange(decode(spread(tmp_path, sizes))), arrange(decode(ECG)))


@pytest.mark.parametrize(
    "change",
    [
        lambda group, number: setattr(group, "MultiplexGroupTimeOffset", str(2500 * number)),
        lambda group, number: delattr(group, "MultiplexGroupTimeOffset"),
        lambda group, number: setattr(group, "SamplingFrequency", str(1000 - number)),
        lambda group, number: setattr(group, "NumberOfWaveformSamples", 10000 - number),
    ],
    ids=["one after another", "start not stated", "another rate", "another length"],
)
def test_groups_that_may_not_be_of_one_time_are_not_joined(
    tmp_path: Path, change: Callable[[Dataset, int], object]
) -> None:
    with pytest.raises(Refusal, match=r"no lead named .*; found .*; expected"):
        arrange(decode(spread(tmp_path, [6, 6], change)))


def test_twelve_leads_count_more_than_a_long_strip(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(ECG)
    strip = pydicom.dcmread(ECG).WaveformSequence[0]
    strip.ChannelDefinitionSequence = [strip.ChannelDefinitionSequence[1]]
    strip.NumberOfWaveformChannels, strip.NumberOfWaveformSamples = 1, 30_000
    strip.WaveformData = np.zeros(30_000, "<i2").tobytes()
    dataset.WaveformSequence = [strip, *dataset.WaveformSequence]
    dataset.save_as(tmp_path / "strip.dcm")
    np.testing.assert_array_equal(decode(tmp_path / "strip.dcm").signal, decode(ECG).signal)


@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize("implicit", [True, False])
def test_a_file_without_preamble_is_read(tmp_path: Path, meta: bool, implicit: bool) -> None:
    dataset = pydicom.dcmread(ECG)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    whole = io.BytesIO()
    dataset.save_as(whole, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    content = whole.getvalue()[132:]  # begins with the length of group 2
    if not meta:
        content = content[12 + int.from_bytes(content[8:12], "little") :]
    for prefix in (b"", b"DICM"):
        (tmp_path / "bare").write_bytes(prefix + content)
        np.testing.assert_array_equal(decode(tmp_path / "bare").signal, decode(ECG).signal)


def _drop(name: str) -> Callable[[Dataset], object]:
    return lambda item: delattr(item, name)


def _set(name: str, value: object) -> Callable[[Dataset], object]:
    return lambda item: setattr(item, name, value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_drop("SamplingFrequency"), "missing_sampling_frequency"),
        (_set("SamplingFrequency", "0"), "missing_sampling_frequency"),
        (channels(_drop("ChannelSensitivityUnitsSequence")), "missing_units"),
        (channels(_drop("ChannelSensitivity")), "missing_units"),
        (channels(lambda one: setattr(one.ChannelSensitivityUnitsSequence[0], "CodeValue", "mm[Hg]")), "unknown_units"),
        (channels(_drop("ChannelSourceSequence")), "missing_leads"),
        (lambda group: group.ChannelDefinitionSequence.pop(), "unreadable"),
        (_set("NumberOfWaveformChannels", 13), "truncated"),
        (_set("NumberOfWaveformSamples", 10001), "truncated"),
        (_set("NumberOfWaveformSamples", 2**32 - 1), "unreadable"),
        (_drop("NumberOfWaveformSamples"), "unreadable"),
        (_set("WaveformSampleInterpretation", "MB"), "unknown_format"),
        (_drop("WaveformData"), "truncated"),
    ],
)
def test_refusals(tmp_path: Path, change: Callable[[Dataset], object], reason: str) -> None:
    path = changed(tmp_path, lambda group: change(group))
    if reason == "unreadable":  # the shorter group must not step in
        dataset = pydicom.dcmread(path)
        del dataset.WaveformSequence[1]
        dataset.save_as(path)
    with pytest.raises(Refusal) as refusal:
        decode(path)
    assert refusal.value.reason == reason


def test_a_file_without_waveform_is_refused() -> None:
    with pytest.raises(Refusal, match="unknown_format"):
        decode(Path(str(get_testdata_file("examples_ybr_color.dcm"))))


@pytest.mark.filterwarnings("ignore:End of file reached")
def test_cut_anywhere_it_is_a_refusal(tmp_path: Path) -> None:
    content = ECG.read_bytes()
    for size in [0, 1, 131, 132, 140, 300, 1000, 5000, 20_000, 200_000, 241_000]:
        (tmp_path / "cut.dcm").write_bytes(content[:size])
        with pytest.raises(Refusal):
            decode(tmp_path / "cut.dcm")


@pytest.mark.filterwarnings("ignore")
def test_flipped_bytes_are_read_or_refused(tmp_path: Path) -> None:
    """Damage in the header part never raises anything but a Refusal."""
    content = bytearray(ECG.read_bytes())
    random = np.random.default_rng(5)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(content)
        for at in random.integers(132, 6000, 4):
            damaged[at] = random.integers(256)
        (tmp_path / "damaged.dcm").write_bytes(damaged)
        try:
            decode(tmp_path / "damaged.dcm")
            outcomes.add("read")
        except Refusal as refusal:
            outcomes.add(refusal.reason)
    assert {"read", "unreadable"} <= outcomes
