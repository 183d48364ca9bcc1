"""One more patient, who is real: the echo clip and the 12-lead ECG that pydicom ships (MIT licence)."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from pydicom.data import get_testdata_file

from echoingecg.common.errors import ExportError
from echoingecg.simulator.identifiers import REAL_ECG, REAL_ECHO, REAL_SUBJECT, ecg_path, echo_path, stamp
from echoingecg.simulator.population import tables
from echoingecg.simulator.population.tables import Rows
from echoingecg.simulator.visits import ECG_FOLDER, ECHO_FOLDER, add_report

_CLIP: Final = "examples_ybr_color.dcm"
_ECG: Final = "waveform_ecg.dcm"
_VISIT: Final = datetime(2150, 1, 1, 12)
# All that is known of the clip. The two files are of two people: no finding of one says anything of the other.
_REPORT: Final = "Apical four chamber view."


def write_real_recordings(folder: Path) -> Rows:
    """Copies both files below `folder` and gives their rows; no measurement, no diagnosis.

    Raises:
        ExportError: this installation of pydicom lacks its example files.
        OSError: the disk cannot take them.
    """
    collected = Rows()
    ecg = ecg_path(REAL_SUBJECT, REAL_ECG) + ".dcm"
    clip = echo_path(REAL_SUBJECT, REAL_ECHO, 1)
    _copy(_ECG, folder / ECG_FOLDER / ecg)
    _copy(_CLIP, folder / ECHO_FOLDER / clip)
    collected.add(tables.RECORDS, subject_id=REAL_SUBJECT, study_id=REAL_ECG, file_name=REAL_ECG,
                  ecg_time=stamp(_VISIT - timedelta(days=1)), path=ecg)  # fmt: skip
    collected.add(tables.CLIPS, subject_id=REAL_SUBJECT, study_id=REAL_ECHO, acquisition_datetime=stamp(_VISIT),
                  dicom_filepath=clip)  # fmt: skip
    add_report(collected, REAL_SUBJECT, REAL_ECHO, _VISIT, _REPORT)
    return collected


def _copy(name: str, target: Path) -> None:
    source = get_testdata_file(name, download=False)
    if source is None:
        raise ExportError(f"pydicom lacks its example {name}: reinstall it, or set simulator.real_recordings to false")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(str(source), target)
