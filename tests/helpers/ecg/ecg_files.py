"""One ECG written in every format: writers of our own, so that what a file holds is known to the step.

Steps are whole numbers of 5 uV; shape (12, time), rows in clinical order (wfdb_files.CLINICAL).
"""

import base64
import zlib
from pathlib import Path

import edfio
import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from scipy import io

from helpers.ecg.scp_files import write_scp
from helpers.ecg.wfdb_files import CLINICAL, write_record

STEP = 0.005  # mV
NEED_STATED = ("npy", "csv", "mat")
STORED = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]  # what MUSE keeps


def ecg_steps(fs: float = 500, seconds: float = 10.0, seed: int = 0) -> np.ndarray:
    """int64 (12, time): beats of each lead's own height, limb leads exact to Einthoven's and Goldberger's rules."""
    time = np.arange(round(fs * seconds)) / fs
    beat = np.exp(-(((time % 0.8) - 0.4) ** 2) / 2e-4) + 0.2 * np.exp(-(((time % 0.8) - 0.65) ** 2) / 3e-3)
    heights = np.array([160, 220, 0, 0, 0, 0, -150, -100, 120, 300, 260, 180])
    noise = np.random.default_rng(seed).normal(0, 3, (12, len(time)))
    steps = np.rint(heights[:, None] * beat + noise).astype(np.int64)
    steps[:2] = steps[:2] // 2 * 2
    one, two = steps[:2]
    steps[2:6] = two - one, -(one + two) // 2, one - two // 2, two - one // 2
    return steps


def write_wfdb(folder: Path, steps: np.ndarray, fs: float = 500, form: str = "16") -> Path:
    return write_record(folder / f"wfdb{form}", steps.T * STEP, fs, fmt=[form] * 12, adc_gain=[1 / STEP] * 12)


def write_dicom(folder: Path, steps: np.ndarray, fs: float = 500) -> Path:
    """pydicom's own 12-lead ECG with other samples."""
    dataset = pydicom.dcmread(str(get_testdata_file("waveform_ecg.dcm")))
    group = dataset.WaveformSequence[0]
    group.NumberOfWaveformSamples, group.SamplingFrequency = steps.shape[1], str(fs)
    group.WaveformData = steps.T.astype("<i2").tobytes()
    for channel in group.ChannelDefinitionSequence:
        channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = "5", "1"
        channel.ChannelSensitivityUnitsSequence[0].CodeValue = "uV"
    dataset.save_as(folder / "ecg.dcm")
    return folder / "ecg.dcm"


def write_muse(
    folder: Path, steps: np.ndarray, fs: int = 500, unit: str = "MICROVOLTS", per_bit: str = "5", more: str = ""
) -> Path:
    """A median beat of noise before the rhythm; `more` goes into every lead."""

    def waveform(kind: str, rows: dict[str, np.ndarray]) -> str:
        leads = ""
        for lead, row in rows.items():
            data = row.astype("<i2").tobytes()
            leads += f"""<LeadData><LeadByteCountTotal>{len(data)}</LeadByteCountTotal>
<LeadSampleCountTotal>{len(row)}</LeadSampleCountTotal>
<LeadAmplitudeUnitsPerBit>{per_bit}</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>{unit}</LeadAmplitudeUnits>
<LeadID>{lead}</LeadID>{more}<LeadSampleSize>2</LeadSampleSize><LeadDataCRC32>{zlib.crc32(data)}</LeadDataCRC32>
<WaveFormData>{base64.encodebytes(data).decode()}</WaveFormData></LeadData>"""
        return f"""<Waveform><WaveformType>{kind}</WaveformType><SampleType>CONTINUOUS_SAMPLES</SampleType>
<SampleBase>{fs}</SampleBase><SampleExponent>0</SampleExponent>{leads}</Waveform>"""

    kept = {lead: steps[CLINICAL.index(lead)] for lead in STORED}
    median = waveform("Median", {lead: row[:300] // 3 for lead, row in kept.items()})
    text = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE RestingECG SYSTEM "restecg.dtd">
<RestingECG>{median}{waveform("Rhythm", kept)}</RestingECG>"""
    (folder / "muse.xml").write_text(text, encoding="latin-1")
    return folder / "muse.xml"


def write_aecg(
    folder: Path, steps: np.ndarray, fs: float = 500, unit: str = "uV", scale: str = "5", order: list[int] | None = None
) -> Path:
    """The origin is 25 uV, written in uV; digits are shifted to make up for it."""
    leads = "".join(
        f"""<component><sequence><code code="MDC_ECG_LEAD_{CLINICAL[row].upper()}"/><value xsi:type="SLIST_PQ">
<origin value="25" unit="uV"/><scale value="{scale}" unit="{unit}"/>
<digits>{" ".join(map(str, steps[row] - 5))}</digits></value></sequence></component>"""
        for row in order or range(12)
    )
    time = f"""<component><sequence><code code="TIME_ABSOLUTE"/><value xsi:type="GLIST_TS"><head value="20040115"/>
<increment value="{1 / fs}" unit="s"/></value></sequence></component>"""
    series = f"<sequenceSet>{time}{leads}</sequenceSet>"
    derived = series.replace("<digits>", "<digits>99 ")
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<AnnotatedECG xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><component><series>
<code code="RHYTHM"/><component>{series}</component><derivation><derivedSeries><code code="REPRESENTATIVE_BEAT"/>
<component>{derived}</component></derivedSeries></derivation></series></component></AnnotatedECG>"""
    (folder / "aecg.xml").write_text(text)
    return folder / "aecg.xml"


def write_cardiosoft(folder: Path, steps: np.ndarray, fs: float = 500, more: str = "", unit: str = "uVperLsb") -> Path:
    """UK Biobank's layout: a median beat before the strip, text samples; `more` goes into the strip."""

    def leads(rows: np.ndarray) -> str:
        return "".join(
            f'<WaveformData lead="{lead}">\n\t\t{",".join(map(str, row))}</WaveformData>'
            for lead, row in zip(CLINICAL, rows, strict=True)
        )

    text = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<CardiologyXML><ObservationType>RestECG</ObservationType>
<RestingECGMeasurements><MedianSamples><NumberOfLeads>12</NumberOfLeads><SampleRate units="Hz">500</SampleRate>
<Resolution units="uVperLsb">5</Resolution>{leads(steps[:, :300] // 3)}</MedianSamples></RestingECGMeasurements>
<StripData><NumberOfLeads>12</NumberOfLeads><SampleRate units="Hz">{fs}</SampleRate>
<ChannelSampleCountTotal>{steps.shape[1]}</ChannelSampleCountTotal><Resolution units="{unit}">5</Resolution>
{more}{leads(steps)}</StripData></CardiologyXML>"""
    (folder / "cardiosoft.xml").write_text(text, encoding="latin-1")
    return folder / "cardiosoft.xml"


def write_edf(
    folder: Path, steps: np.ndarray, fs: float = 500, unit: str = "uV", factor: float = 1.0, prefix: str = "ECG "
) -> Path:
    """EDF+ by edfio, with an annotation; one step of the file is one of ours."""
    signals = [
        edfio.EdfSignal.from_digital(
            row.astype(np.int16), fs, label=prefix + lead, physical_dimension=unit, digital_range=(-1000, 1000),
            physical_range=(-5000 * factor, 5000 * factor),
        )
        for lead, row in zip(CLINICAL, steps, strict=True)
    ]  # fmt: skip
    file = edfio.Edf(signals, data_record_duration=1.0, annotations=[edfio.EdfAnnotation(1.0, None, "beat")])
    file.write(folder / "ecg.edf")
    return folder / "ecg.edf"


def write_npy(folder: Path, steps: np.ndarray) -> Path:
    """As EchoNext: (1, time, lead), here in millivolts."""
    np.save(folder / "ecg.npy", (steps.T * STEP)[None])
    return folder / "ecg.npy"


def write_csv(folder: Path, steps: np.ndarray) -> Path:
    """A column a lead, in millivolts, its name above it."""
    lines = [",".join(CLINICAL), *(",".join(f"{step * STEP:.3f}" for step in frame) for frame in steps.T.tolist())]
    (folder / "ecg.csv").write_text("\n".join(lines) + "\n")
    return folder / "ecg.csv"


def write_mat(folder: Path, steps: np.ndarray, compress: bool = True) -> Path:
    """By SciPy, in millivolts, with other variables beside."""
    others = {"fs": 500.0, "leads": np.array(CLINICAL, dtype=object), "age": np.arange(3)}
    io.savemat(folder / "ecg.mat", others | {"val": steps * STEP}, do_compression=compress)
    return folder / "ecg.mat"


def write_mortara(folder: Path, steps: np.ndarray, fs: int = 500, changes: dict[str, str] | None = None) -> Path:
    """200 units a millivolt, as one step is 5 uV; a typical cycle stands before the rhythm. Keys of `changes`: V2's."""
    channels = ""
    for lead, row in zip(CLINICAL, steps, strict=True):
        values = {
            "OFFSET": "0", "BITS": "16", "FORMAT": "SIGNED", "UNITS_PER_MV": "200", "DURATION": str(len(row)),
            "SAMPLE_FREQ": str(fs), "NAME": lead, "ENCODING": "BASE64",
            "DATA": base64.b64encode(row.astype("<i2").tobytes()).decode(),
        } | ((changes or {}) if lead == "V2" else {})  # fmt: skip
        channels += "<CHANNEL " + " ".join(f'{name}="{value}"' for name, value in values.items()) + "/>\n"
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<ECG ACQUISITION_TIME="20210510131518" NUM_QRS="12" VENT_RATE="75"><SOURCE TYPE="STD-12"/>
<TYPICAL_CYCLE BITS="16" FORMAT="SIGNED" UNITS_PER_MV="200" DURATION="2" SAMPLE_FREQ="{fs}" ENCODING="BASE64"
I="AAAAAA==" II="AAAAAA=="/>
{channels}</ECG>"""
    (folder / "mortara.xml").write_text(text)
    return folder / "mortara.xml"


def _lzw(data: bytes) -> bytes:
    """10-bit codes, first bit highest; the table is full at code 1022."""
    table = {bytes((byte,)): byte for byte in range(256)}
    codes, now = [], b""
    for byte in data:
        more = now + bytes((byte,))
        if more in table:
            now = more
            continue
        codes.append(table[now])
        if len(table) <= 1022:
            table[more] = len(table)
        now = more[-1:]
    bits = "".join(f"{code:010b}" for code in [*codes, table[now], 1023])
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def xli_chunk(row: np.ndarray) -> bytes:
    """One lead, compressed."""
    y = row.tolist()
    bends = [2 * y[n - 1] - y[n - 2] - y[n] for n in range(2, len(y))]
    words = [word & 0xFFFF for word in [*y[:2], *(bend + 64 for bend in bends[1:]), 64]]
    packed = _lzw(bytes(word >> 8 for word in words) + bytes(word & 0xFF for word in words))
    return len(packed).to_bytes(4, "little") + b"\0\0" + bends[0].to_bytes(2, "little", signed=True) + packed


def write_philips(
    folder: Path, steps: np.ndarray, fs: int = 500, version: str = "1.04.01", labels: bool = True
) -> Path:
    """III, aVR, aVL and aVF as residuals; UTF-16 from 1.04 on."""
    one, two, three, right, left, foot = steps[:6]
    rest = [two - one - three, -((one + two) // 2) - right, (one - three) // 2 - left, (two + three) // 2 - foot]
    data = b"".join(xli_chunk(row) for row in [one, two, *rest, *steps[6:]])
    named = f'numberofleads="12" leadlabels="{" ".join(CLINICAL)}" resolution="5"' if labels else ""
    encoding = "utf-16" if version.startswith("1.04") else "utf-8"
    text = f"""<?xml version="1.0" encoding="{encoding}"?>
<restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo><documenttype>PhilipsECG</documenttype>
<documentversion>{version}</documentversion></documentinfo><dataacquisition><signalcharacteristics>
<samplingrate>{fs}</samplingrate><signalresolution>5</signalresolution><acquisitiontype>STD-12</acquisitiontype>
<bitspersample>16</bitspersample><signaloffset>0</signaloffset><signalsigned>True</signalsigned>
<numberchannelsallocated>12</numberchannelsallocated></signalcharacteristics></dataacquisition>
<waveforms><parsedwaveforms compression="XLI" dataencoding="Base64" {named}
durationperchannel="{steps.shape[1] * 1000 // fs}">{base64.b64encode(data).decode()}</parsedwaveforms></waveforms>
</restingecgdata>"""
    (folder / "philips.xml").write_bytes(text.encode(encoding))
    return folder / "philips.xml"


def write_every(folder: Path, steps: np.ndarray) -> dict[str, Path]:
    """Writes one ECG at 500 Hz in every format; those of NEED_STATED need leads, unit and rate stated."""
    return {
        **{f"wfdb {form}": write_wfdb(folder, steps, form=form) for form in ("16", "24", "32", "212", "516", "524")},
        "dicom": write_dicom(folder, steps),
        "muse": write_muse(folder, steps),
        "philips": write_philips(folder, steps),
        "aecg": write_aecg(folder, steps),
        "cardiosoft": write_cardiosoft(folder, steps),
        "scp": write_scp(folder, steps),
        "edf": write_edf(folder, steps),
        "mortara": write_mortara(folder, steps),
        "npy": write_npy(folder, steps),
        "csv": write_csv(folder, steps),
        "mat": write_mat(folder, steps),
    }
