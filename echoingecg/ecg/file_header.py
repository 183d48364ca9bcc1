"""What an ECG file states beside its signal: the patient's number, the time, sex, age and the cart's statements.

Signals are decoded without these (`decode`), so that no stage holds a name. They are read here alone, to list a folder
of files that has no table. Times are local, as the cart wrote them: an offset from UTC is dropped, not applied.

Sources: GE MUSE XML (restecg.dtd: dates are MM-DD-YYYY); GE CardioSoft XML, of which there is no public schema (public
readers of UK Biobank's files); Philips ECG XML 1.03 and 1.04 (dates are YYYY-MM-DD); HL7 aECG Implementation Guide,
2005; DICOM PS3.3 C.7.1, C.10.8 and C.10.10; SCP-ECG EN 1064, sections 1 and 8.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from echoingecg.common import Refusal
from echoingecg.ecg.decode import HEAD_BYTES, binary_format, dicom, scp
from echoingecg.ecg.decode.recording import read_whole
from echoingecg.ecg.decode.vendor_xml import xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}
_OLDEST_YEARS = 130
_UK_BIOBANK_NAME = re.compile(r"(?P<participant>\d{7})_\d+_\d+_\d+\.xml", re.IGNORECASE)  # field, visit, number
_DICOM_TAGS = ("PatientID", "PatientSex", "PatientAge", "PatientBirthDate", "AcquisitionDateTime")
# Section 1 of SCP-ECG: tag, length; the tags that are read.
_SCP_TAG = struct.Struct("<BH")
_SCP_PATIENT, _SCP_AGE, _SCP_BIRTH, _SCP_SEX, _SCP_DATE, _SCP_TIME, _SCP_END = 2, 4, 5, 8, 25, 26, 255
_SCP_DAY = struct.Struct("<HBB")
_SCP_AGE_VALUE = struct.Struct("<HB")  # age, unit
_SCP_YEARS = 1  # as unit
_SCP_SEXES = {1: "M", 2: "F"}
_SCP_STATEMENTS_START = 9  # section 8: state, date, time, count


@dataclass(frozen=True)
class EcgHeader:
    """What a file states.

    Attributes:
        patient: the patient's number, never empty.
        time: local time of the recording.
        sex: F or M; empty where the file states neither.
        age: whole years at the recording, as stated or from the date of birth; None where neither is there.
        statements: the cart's or the reader's, in their order.
    """

    patient: str
    time: datetime
    sex: str = ""
    age: int | None = None
    statements: tuple[str, ...] = ()


def read_header(path: Path) -> EcgHeader:
    """Reads what a MUSE, CardioSoft, Philips, aECG, DICOM or SCP-ECG file states beside its signal.

    A CardioSoft file that has the name of UK Biobank's bulk files, as 1234567_20205_2_0.xml, is of that participant,
    whatever number it states: UK Biobank's tables have that one.

    Raises:
        Refusal: unknown_format for a file of another format, which names no patient; bad_row where the patient's number
            or the time is not stated or cannot be read.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    match binary_format(head):
        case "DICOM":
            return _of_dicom(path)
        case "SCP-ECG":
            return _of_scp(read_whole(path))
    if not xml.starts_as_xml(head):
        raise Refusal(
            "unknown_format", "no MUSE, CardioSoft, Philips, aECG, DICOM or SCP-ECG file: it names no patient"
        )
    root = xml.parse_xml(read_whole(path))
    if xml.local(root) == "CardiologyXML":
        return _of_cardiosoft(root, path.name)
    read = _XML_READERS.get(xml.local(root))
    if read is None:
        raise Refusal(
            "unknown_format", "an XML document that is no MUSE, CardioSoft, Philips or HL7 ECG: it names no patient"
        )
    return read(root)


def _header(
    patient: str, time: str, layout: str, sex: str, age: str, birth: str, birth_layout: str, statements: list[str]
) -> EcgHeader:
    """Parses the texts that a file states; `layout` and `birth_layout` are those of strptime."""
    patient = patient.strip()
    if not patient.strip("0") or (len(set(patient)) == 1 and not patient.isdigit()):  # "xxxxxx" or "0" is nobody's
        raise Refusal("bad_row", "the file states no patient number, or a placeholder")
    recorded = _parsed(time, layout)
    if recorded is None:
        fault = f"a time that is not written as {_shown(layout)}" if time.strip() else "the file states no time"
        raise Refusal("bad_row", fault)
    years = int(age) if age.isdecimal() else _years(_parsed(birth, birth_layout), recorded)
    kept = tuple(line for text in statements if (line := " ".join(text.split())))
    is_possible = years is not None and 0 <= years <= _OLDEST_YEARS
    return EcgHeader(patient, recorded, _SEXES.get(sex.strip().lower(), ""), years if is_possible else None, kept)


def _parsed(text: str, layout: str) -> datetime | None:
    try:
        return datetime.strptime(text.strip(), layout)  # local, as the cart has it
    except ValueError:
        return None


def _shown(layout: str) -> str:
    """Returns a layout of strptime as people write it."""
    names = {"%Y": "YYYY", "%m": "MM", "%d": "DD", "%H": "hh", "%M": "mm", "%S": "ss"}
    for code, name in names.items():
        layout = layout.replace(code, name)
    return layout


def _years(birth: datetime | None, recorded: datetime) -> int | None:
    if birth is None:
        return None
    return recorded.year - birth.year - ((recorded.month, recorded.day) < (birth.month, birth.day))


def _of_muse(root: "Element") -> EcgHeader:
    patient, test = xml.child(root, "PatientDemographics"), xml.child(root, "TestDemographics")
    day, hour = (xml.text(xml.child(test, name)) for name in ("AcquisitionDate", "AcquisitionTime"))
    has_years = xml.text(xml.child(patient, "AgeUnits")).upper() == "YEARS"
    lines = [""]
    for statement in xml.children(xml.child(root, "Diagnosis"), "DiagnosisStatement"):
        lines[-1] += f" {xml.text(xml.child(statement, 'StmtText'))}"
        if any(xml.text(flag) == "ENDSLINE" for flag in xml.children(statement, "StmtFlag")):
            lines.append("")
    return _header(
        xml.text(xml.child(patient, "PatientID")),
        f"{day} {hour}",
        "%m-%d-%Y %H:%M:%S",
        xml.text(xml.child(patient, "Gender")),
        xml.text(xml.child(patient, "PatientAge")) if has_years else "",
        xml.text(xml.child(patient, "DateofBirth")),
        "%m-%d-%Y",
        lines,
    )


def _of_cardiosoft(root: "Element", name: str) -> EcgHeader:
    patient, interpretation = xml.child(root, "PatientInfo"), xml.child(root, "Interpretation")
    age, match = xml.child(patient, "Age"), _UK_BIOBANK_NAME.fullmatch(name)
    has_years = _attribute(age, "units").lower() in ("", "years")
    recorded, birth = xml.child(root, "ObservationDateTime"), xml.child(patient, "BirthDateTime")
    read, confirmed = (
        [xml.text(line) for kind in xml.children(interpretation, whose) for line in xml.children(kind, f"{whose}Text")]
        for whose in ("Diagnosis", "Conclusion")
    )
    return _header(
        xml.text(xml.child(patient, "PID")) if match is None else match["participant"],
        f"{_joined(recorded, '-', 'Year', 'Month', 'Day')} {_joined(recorded, ':', 'Hour', 'Minute', 'Second')}",
        "%Y-%m-%d %H:%M:%S",
        xml.text(xml.child(patient, "Gender")),
        xml.text(age) if has_years else "",
        _joined(birth, "-", "Year", "Month", "Day"),
        "%Y-%m-%d",
        confirmed or read,
    )


def _joined(element: "Element | None", mark: str, *names: str) -> str:
    """The texts of children; empty where none of them has one."""
    texts = [xml.text(xml.child(element, name)) for name in names]
    return mark.join(texts) if any(texts) else ""


def _of_philips(root: "Element") -> EcgHeader:
    patient = xml.child(root, "patient", "generalpatientdata")
    acquired = xml.child(root, "dataacquisition")
    stated = {} if acquired is None else acquired.attrib
    interpretation = next(xml.descendants(root, "interpretation"), None)
    statements = [
        " ".join(xml.text(xml.child(statement, f"{side}statement")) for side in ("left", "right"))
        for statement in xml.children(interpretation, "statement")
    ]
    return _header(
        xml.text(xml.child(patient, "patientid")),
        f"{stated.get('date', '')} {stated.get('time', '')}",
        "%Y-%m-%d %H:%M:%S",
        xml.text(xml.child(patient, "sex")),
        xml.text(xml.child(patient, "age", "years")),
        xml.text(xml.child(patient, "age", "dateofbirth")),
        "%Y-%m-%d",
        statements,
    )


def _of_aecg(root: "Element") -> EcgHeader:
    subject = next(xml.descendants(root, "trialSubject"), None)
    person = xml.child(subject, "subjectDemographicPerson")
    start = xml.child(root, "effectiveTime", "low")
    if start is None:
        start = xml.child(root, "effectiveTime", "center")
    return _header(
        _attribute(xml.child(subject, "id"), "extension"),
        _attribute(start, "value")[:14],
        "%Y%m%d%H%M%S",
        _attribute(xml.child(person, "administrativeGenderCode"), "code"),
        "",
        _attribute(xml.child(person, "birthTime"), "value")[:8],
        "%Y%m%d",
        [],
    )


def _attribute(element: "Element | None", name: str) -> str:
    return "" if element is None else element.get(name, "")


_XML_READERS: dict[str, Callable[["Element"], EcgHeader]] = {
    "RestingECG": _of_muse,
    "restingecgdata": _of_philips,
    "AnnotatedECG": _of_aecg,
}


def _of_dicom(path: Path) -> EcgHeader:
    stated, statements = dicom.read_texts(path, _DICOM_TAGS, "WaveformAnnotationSequence", "UnformattedTextValue")
    age = stated["PatientAge"]
    return _header(
        stated["PatientID"],
        stated["AcquisitionDateTime"][:14],
        "%Y%m%d%H%M%S",
        stated["PatientSex"],
        age[:3] if len(age) == 4 and age.endswith("Y") else "",
        stated["PatientBirthDate"],
        "%Y%m%d",
        statements,
    )


def _of_scp(content: bytes) -> EcgHeader:
    sections = scp.read_sections(content, patient=True)
    tags = _scp_tags(sections.get(1, b""))
    age = tags.get(_SCP_AGE, b"")
    years, unit = _SCP_AGE_VALUE.unpack_from(age) if len(age) >= _SCP_AGE_VALUE.size else (0, 0)
    sex = tags.get(_SCP_SEX, b"\0")[:1].ljust(1, b"\0")[0]
    recorded = tags.get(_SCP_TIME, b"")
    hour = "{:02d}{:02d}{:02d}".format(*recorded[:3]) if len(recorded) >= 3 else ""
    return _header(
        _scp_text(tags.get(_SCP_PATIENT, b"")),
        _scp_day(tags.get(_SCP_DATE, b"")) + hour,
        "%Y%m%d%H%M%S",
        _SCP_SEXES.get(sex, ""),
        str(years) if unit == _SCP_YEARS else "",
        _scp_day(tags.get(_SCP_BIRTH, b"")),
        "%Y%m%d",
        [_scp_text(value) for _, value in _scp_items(sections.get(8, b"")[_SCP_STATEMENTS_START:])],
    )


def _scp_tags(body: bytes) -> dict[int, bytes]:
    """Values of section 1 by tag; of a tag that stands there twice the first."""
    tags: dict[int, bytes] = {}
    for tag, value in _scp_items(body):
        if tag == _SCP_END:
            break
        tags.setdefault(tag, value)
    return tags


def _scp_items(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields number and value of each item, as sections 1 and 8 hold them one after another."""
    position = 0
    while position + _SCP_TAG.size <= len(body):
        number, length = _SCP_TAG.unpack_from(body, position)
        position += _SCP_TAG.size
        yield number, body[position : position + length]
        position += length


def _scp_day(value: bytes) -> str:
    if len(value) < _SCP_DAY.size:
        return ""
    year, month, day = _SCP_DAY.unpack_from(value)
    try:
        return date(year, month, day).strftime("%Y%m%d")
    except ValueError:
        return ""


def _scp_text(value: bytes) -> str:
    return value.partition(b"\0")[0].decode("latin-1")
