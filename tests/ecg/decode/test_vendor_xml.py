"""MUSE, Philips, HL7 and CardioSoft XML: second readings, what they must state, and what XML may not do."""

import base64
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import sierraecg
from hypothesis import given, settings
from hypothesis import strategies as st

from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange, limb_lead_error
from echoingecg.ecg.decode.vendor_xml.philips import decode_xli
from helpers.ecg.ecg_files import STEP, ecg_steps, write_aecg, write_cardiosoft, write_muse, write_philips, xli_chunk
from helpers.paths import Recording

STEPS = ecg_steps(seconds=2.0)


def reason_of(path: Path) -> str:
    with pytest.raises(Refusal) as refusal:
        decode(path)
    return refusal.value.reason


def edited(path: Path, old: str, new: str, encoding: str = "utf-8") -> Path:
    """Replaces text, which must be there."""
    text = path.read_bytes().decode(encoding)
    changed = re.sub(old, new, text, flags=re.DOTALL)
    assert changed != text
    path.write_bytes(changed.encode(encoding))
    return path


@pytest.mark.parametrize("name", ["129DYPRG.XML", "2020-5-18_15-48-11.xml"])
def test_philips_is_what_sierraecg_reads(recording: Recording, name: str) -> None:
    """The last 300 ms of both files hold a calibration pulse of 1 mV in every lead; the ECG ends before."""
    path = recording(f"philips_xml/{name}")
    theirs = sierraecg.read_file(str(path))
    found = decode(path)
    assert list(found.leads) == [lead.label for lead in theirs.leads]
    for row, lead in zip(found.signal, theirs.leads, strict=True):
        np.testing.assert_allclose(row, lead.samples[: len(row)] * STEP, atol=1e-12)
    assert limb_lead_error(arrange(found)[:, :5000])[1] < 0.05


def test_our_philips_file_is_one(tmp_path: Path) -> None:
    """The writer of these tests, read by sierraecg."""
    theirs = sierraecg.read_file(str(write_philips(tmp_path, STEPS, version="1.04")))
    np.testing.assert_array_equal([lead.samples for lead in theirs.leads], STEPS)


@given(row=st.lists(st.integers(-300, 300), min_size=2, max_size=400), level=st.integers(-10000, 10000))
@settings(max_examples=100, deadline=None)
def test_xli_is_read_back(row: list[int], level: int) -> None:
    values = np.array(row, np.int64) + level
    if len(values) > 2:
        np.testing.assert_array_equal(decode_xli(xli_chunk(values), 1, len(values))[0], values)


def test_muse_against_a_plain_reading(recording: Recording) -> None:
    """ElementTree and NumPy alone, by position: the second waveform is the rhythm."""
    path = recording("muse_xml/easyRecg/muse_ecg1.xml")
    rhythm = ElementTree.parse(path).getroot().findall("Waveform")[1]
    expected = [
        np.frombuffer(base64.b64decode(lead.findtext("WaveFormData", "")), "<i2") * 4.88e-3
        for lead in rhythm.findall("LeadData")
    ]
    found = decode(path)
    np.testing.assert_allclose(found.signal, expected, atol=1e-12)
    assert found.leads == ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def test_aecg_against_a_plain_reading(recording: Recording) -> None:
    """The text between tags alone: the first twelve lists of digits are the rhythm, 2.5 uV a step."""
    path = recording("hl7_aecg/jhu/hl7aecg-Example2.xml")
    lists = re.findall(r"<digits>([^<]*)", path.read_text())[:12]
    np.testing.assert_allclose(decode(path).signal, [[int(one) * 2.5e-3 for one in row.split()] for row in lists])


def test_muse_leads_that_start_late(tmp_path: Path) -> None:
    path = write_muse(tmp_path, STEPS, more="<LeadOffsetFirstSample>40</LeadOffsetFirstSample>")
    np.testing.assert_allclose(decode(path).signal[0], STEPS[0] * STEP, atol=1e-12)
    text = path.read_text(encoding="latin-1")
    head, middle, tail = text.rpartition(">40<")
    path.write_text(head + ">0<" + tail if middle else text, encoding="latin-1")
    found = decode(path).signal  # V6 starts 40 samples before the others
    assert found.shape == (8, 1040)
    assert np.isnan(found[:7, :40]).all()
    assert np.isnan(found[7, 1000:]).all()
    np.testing.assert_allclose(found[7, :1000], STEPS[11] * STEP, atol=1e-12)


MUSE = [
    ("<SampleBase>500</SampleBase>", "", "missing_sampling_frequency"),
    ("<SampleBase>500<", "<SampleBase>0<", "missing_sampling_frequency"),
    ("<SampleExponent>0<", "<SampleExponent>99<", "missing_sampling_frequency"),
    ("<LeadAmplitudeUnitsPerBit>5</LeadAmplitudeUnitsPerBit>", "", "missing_units"),
    ("<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>", "", "missing_units"),
    ("MICROVOLTS", "FURLONGS", "unknown_units"),
    ("<WaveformType>Rhythm<", "<WaveformType>Other<", "unknown_format"),
    ("CONTINUOUS_SAMPLES", "COMPRESSED", "unknown_format"),
    ("<LeadSampleSize>2<", "<LeadSampleSize>4<", "unknown_format"),
    ("<LeadSampleSize>2<", "<FirstSampleBaseline>7</FirstSampleBaseline><LeadSampleSize>2<", "unknown_format"),
    ("<LeadSampleSize>2<", "<LeadTimeOffset>7</LeadTimeOffset><LeadSampleSize>2<", "unknown_format"),
    ("<LeadSampleCountTotal>1000<", "<LeadSampleCountTotal>1001<", "truncated"),
    ("<LeadSampleCountTotal>1000<", "<LeadSampleCountTotal>999<", "unreadable"),
    ("<LeadSampleCountTotal>1000<", "<LeadSampleCountTotal>99999999999<", "truncated"),
    ("<LeadSampleCountTotal>1000<", "<LeadSampleCountTotal>many<", "unreadable"),
    ("<LeadDataCRC32>", "<LeadDataCRC32>1", "unreadable"),
    ("<WaveFormData>", "<WaveFormData>!", "unreadable"),
    ("<LeadID>V6<", "<LeadID>V5<", "missing_leads"),
    ("<LeadID>[^<]*<", "<LeadID>X<", "missing_leads"),
    ("</RestingECG>", "", "truncated"),
    ("<LeadData>", "<LeadData", "unreadable"),
]
AECG = [
    ('<increment value="0.002" unit="s"/>', "", "missing_sampling_frequency"),
    ('value="0.002"', 'value="0"', "missing_sampling_frequency"),
    ('value="0.002"', 'value="1e-300"', "missing_sampling_frequency"),
    ('value="0.002" unit="s"', 'value="0.002" unit="min"', "missing_sampling_frequency"),
    ('(<scale value="5") unit="uV"', r"\1", "missing_units"),
    ('<scale value="5" unit="uV"/>', "", "missing_units"),
    ('(<scale value="5") unit="uV"', r'\1 unit="mm"', "unknown_units"),
    ('<scale value="5"', '<scale value="x"', "unreadable"),
    ("<digits>", "<digits>nan ", "unreadable"),
    ("<digits>", "<digits>1-2 ", "unreadable"),
    ("<digits>[^<]*", "<digits>", "unreadable"),
    ("(LEAD_V6.*?<digits>)", r"\g<1>0 ", "unreadable"),
    ("SLIST_PQ", "BXIT_CDPQ", "unknown_format"),
    ('code="RHYTHM"', 'code="OTHER"', "unknown_format"),
    ("LEAD_V6", "LEAD_V5", "missing_leads"),
    ("MDC_ECG_LEAD", "MDC_EEG_LEAD", "missing_leads"),
]
PHILIPS = [
    ("<documentversion>1.03<", "<documentversion>2.0<", "unknown_format"),
    ('compression="XLI"', 'compression="ZIP"', "unknown_format"),
    ('compression="XLI"', "", "unknown_format"),
    ('dataencoding="Base64"', 'dataencoding="Plain"', "unknown_format"),
    ("<bitspersample>16<", "<bitspersample>8<", "unknown_format"),
    ("<signaloffset>0<", "<signaloffset>9<", "unknown_format"),
    ("<signalsigned>True<", "<signalsigned>False<", "unknown_format"),
    ("<samplingrate>500</samplingrate>", "", "missing_sampling_frequency"),
    ("<signalresolution>5<", "<signalresolution>0<", "missing_units"),
    ("STD-12", "EASI", "missing_leads"),
    ("allocated>12<", "allocated>11<", "missing_leads"),
    ('durationperchannel="2000"', "", "unreadable"),
    ('durationperchannel="2000"', 'durationperchannel="2400"', "truncated"),
    ('durationperchannel="2000"', 'durationperchannel="1000"', "unreadable"),
    ('durationperchannel="2000"', 'durationperchannel="9e15"', "unreadable"),
    (">[A-Za-z0-9+/]{9}", ">!", "unreadable"),
    ("[A-Za-z0-9+/=]{400}</parsed", "</parsed", "truncated"),
]
CARDIOSOFT = [
    ("<StripData>.*</StripData>", "", "unknown_format"),
    ('(StripData>.*)"uVperLsb"', r'\1"mVperLsb"', "missing_units"),
    ("(StripData>.*)<Resolution.*?</Resolution>", r"\1", "missing_units"),
    ("(StripData>.*)>500<", r"\1><", "missing_sampling_frequency"),
    ('(StripData>.*)units="Hz"', r'\1units="kHz"', "missing_sampling_frequency"),
    ("<ChannelSampleCountTotal>1000<", "<ChannelSampleCountTotal>1001<", "truncated"),
    ('(StripData>.*lead="V6">\\s*)-?[0-9]+,', r"\1", "unreadable"),
    ('(StripData>.*lead="V6">\\s*)-?[0-9]+,', r"\1 0.5,", "unreadable"),
    ('(StripData>.*)lead="V6"', r'\1lead="V5"', "missing_leads"),
    ('(StripData>.*)lead="V6"', r'\1lead="X"', "missing_leads"),
]


def _philips_1_03(folder: Path, steps: np.ndarray) -> Path:
    return write_philips(folder, steps, version="1.03", labels=False)


@pytest.mark.parametrize(
    ("write", "old", "new", "reason"),
    [(write, *case) for write, cases in ((write_muse, MUSE), (write_aecg, AECG), (_philips_1_03, PHILIPS),
        (write_cardiosoft, CARDIOSOFT))
     for case in cases],
)  # fmt: skip
def test_lying_or_silent_files(
    tmp_path: Path, write: Callable[[Path, np.ndarray], Path], old: str, new: str, reason: str
) -> None:
    path = edited(write(tmp_path, STEPS), old, new)
    with pytest.raises(Refusal) as refusal:
        arrange(decode(path))
    assert refusal.value.reason == reason


def test_the_export_may_state_what_the_file_does_not(tmp_path: Path) -> None:
    path = edited(write_muse(tmp_path, STEPS), "<LeadAmplitudeUnits>MICROVOLTS</LeadAmplitudeUnits>", "")
    edited(path, "<SampleBase>500</SampleBase>", "")
    found = decode(path, "uV", 500.0)
    np.testing.assert_allclose(found.signal[1], STEPS[1] * STEP, atol=1e-12)
    assert found.sampling_frequency == 500


def test_entities_and_outside_files_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE RestingECG [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><RestingECG>&b;</RestingECG>'
    outside = '<!DOCTYPE RestingECG [<!ENTITY x SYSTEM "file:///etc/passwd">]><RestingECG>&x;</RestingECG>'
    for text in (bomb, outside):
        (tmp_path / "bad.xml").write_text(text)
        with pytest.raises(Refusal, match="entities"):
            decode(tmp_path / "bad.xml")


def test_floods_of_elements_are_refused(tmp_path: Path) -> None:
    for text in ("<a>" * 200 + "</a>" * 200, f"<a>{'<b/>' * 600_000}</a>"):
        (tmp_path / "bad.xml").write_text(text)
        with pytest.raises(Refusal, match="more or deeper"):
            decode(tmp_path / "bad.xml")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<svg/>", "unknown_format"),
        (b"  \n<?xml version='1.0'?><svg/>", "unreadable"),  # nothing may stand before the declaration
        (b"<", "truncated"),
        (b"<RestingECG>", "truncated"),
        (b"<?xml version='1.0' encoding='no-such'?><a/>", "unreadable"),
        ("<svg/>".encode("utf-16"), "unknown_format"),
        (b"\xef\xbb\xbf<svg/>", "unknown_format"),
    ],
)
def test_other_xml(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "other.xml").write_bytes(content)
    assert reason_of(tmp_path / "other.xml") == reason


def test_cardiosoft_leads_are_mapped_by_name(tmp_path: Path) -> None:
    """UK Biobank's files spell them AVR or aVR."""
    path = write_cardiosoft(tmp_path, STEPS)
    plain = arrange(decode(path))
    path.write_text(path.read_text().replace('lead="aV', 'lead="AV'))
    np.testing.assert_array_equal(arrange(decode(path)), plain)


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [
        ("GB2312", "gb18030"), ("gbk", "gbk"), ("GB18030", "gb18030"), ("x-gbk", "gbk"), ("windows-936", "gbk"),
        ("Big5", "big5"), ("Shift_JIS", "cp932"), ("x-sjis", "shift_jis"), ("Windows-31J", "cp932"),
        ("EUC-JP", "euc_jp"), ("ISO-2022-JP", "iso2022_jp"), ("EUC-KR", "cp949"), ("ks_c_5601-1987", "euc_kr"),
        ("windows-949", "cp949"), ("windows-1252", "cp1252"), ("windows-1251", "cp1251"), ("WINDOWS-1250", "cp1250"),
        ("cp1253", "cp1253"), ("windows-874", "cp874"), ("TIS-620", "tis_620"), ("KOI8-R", "koi8_r"),
        ("ISO-8859-2", "iso8859_2"), ("ISO-8859-15", "iso8859_15"), ("UTF-16", "utf_16"), ("us-ascii", "ascii"),
    ],
)  # fmt: skip
def test_encodings_of_the_world(tmp_path: Path, encoding: str, codec: str) -> None:
    """A patient's name in the script of each encoding: every character that it has above ASCII, as far as they go."""
    path = write_muse(tmp_path, ecg_steps())
    letters = "张伟日本山田김민준éèüßИванőşΩตี"
    name = "".join(letter for letter in letters if letter.encode(codec, "ignore"))
    text = path.read_text(encoding="latin-1").replace("ISO-8859-1", encoding)
    text = text.replace("<RestingECG>", f"<RestingECG><PatientLastName>{name}</PatientLastName>", 1)
    expected = decode(path).signal
    path.write_bytes(text.encode(codec))
    np.testing.assert_array_equal(decode(path).signal, expected)


@pytest.mark.parametrize("encoding", ["base64", "rot13", "zlib", "unicode_escape", "idna", "utf-7", "undefined", "hex"])
def test_encodings_that_are_none_of_text_are_refused(tmp_path: Path, encoding: str) -> None:
    path = write_muse(tmp_path, ecg_steps())
    path.write_text(path.read_text(encoding="latin-1").replace("ISO-8859-1", encoding), encoding="latin-1")
    with pytest.raises(Refusal, match="encoding"):
        decode(path)


def test_bytes_that_are_not_of_the_encoding_are_refused(tmp_path: Path) -> None:
    path = write_muse(tmp_path, ecg_steps())
    content = path.read_bytes().replace(b"ISO-8859-1", b"EUC-KR")
    path.write_bytes(content.replace(b"<RestingECG>", b"<RestingECG><Name>\xff\xff</Name>", 1))
    with pytest.raises(Refusal, match="not of its encoding"):
        decode(path)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("seconds", [5, 10, 30])
def test_of_two_rhythms_the_one_with_the_leads_counts(tmp_path: Path, first: bool, seconds: int) -> None:
    """The other holds I and II alone, for half, the whole or thrice the time."""
    strip = write_muse(tmp_path, ecg_steps(seconds=seconds)).read_text(encoding="latin-1")
    strip = strip[strip.index("<Waveform><WaveformType>Rhythm") : strip.rindex("</RestingECG>")]
    leads = strip.split("<LeadData>")
    strip = "<LeadData>".join(leads[:3]) + "</Waveform>"
    path = write_muse(tmp_path, ecg_steps())
    expected = decode(path).signal
    place = "<Waveform><WaveformType>Rhythm" if first else "</RestingECG>"
    path.write_text(path.read_text(encoding="latin-1").replace(place, strip + place), encoding="latin-1")
    np.testing.assert_array_equal(decode(path).signal, expected)


def test_utf_16_may_be_declared_of_utf_8(tmp_path: Path) -> None:
    """What programs write that keep XML as a string: the declaration is the string's, the bytes are the file's."""
    path = write_muse(tmp_path, ecg_steps())
    expected = decode(path).signal
    text = path.read_text(encoding="latin-1").replace("ISO-8859-1", "utf-16")
    path.write_text(text.replace("<RestingECG>", "<RestingECG><PatientLastName>Müller</PatientLastName>", 1), "utf-8")
    np.testing.assert_array_equal(decode(path).signal, expected)


def test_the_calibration_pulse_of_philips_tells_of_damage(recording: Recording, tmp_path: Path) -> None:
    """A wrong resolution; and single characters of the compressed samples changed: read as before, or refused."""
    content = recording("philips_xml/2020-5-18_15-48-11.xml").read_bytes()
    expected = decode(recording("philips_xml/2020-5-18_15-48-11.xml")).signal
    text = content.decode("utf-16")
    assert 'resolution="5"' in text
    (tmp_path / "bad.xml").write_bytes(text.replace('resolution="5"', 'resolution="4"').encode("utf-16"))
    with pytest.raises(Refusal, match=r"pulse of 0\.8 mV"):
        decode(tmp_path / "bad.xml")
    start = text.index(">", text.index("<parsedwaveforms")) + 1500
    random, refused = np.random.default_rng(3), 0
    for place in random.integers(start, text.index("</parsedwaveforms") - 1500, 60).tolist():
        (tmp_path / "bad.xml").write_bytes(f"{text[:place]}Q{text[place + 1 :]}".encode("utf-16"))
        try:
            np.testing.assert_allclose(decode(tmp_path / "bad.xml").signal, expected, atol=0.025)
        except Refusal:
            refused += 1
    assert refused > 20
