"""What every real ECG must give, set down from its header or its publisher before any decoder ran.

A line a file: path below the folder of recordings, format, sampling frequency in Hz, leads stored, samples a
lead; or the reason of its refusal.
"""

from dataclasses import dataclass
from pathlib import Path

FOLDERS = (
    "ptbxl", "cinc2021_wfdb_mat", "code15_wfdb", "ludb_wfdb", "ecg_dicom", "muse_xml", "philips_xml", "hl7_aecg",
    "scp_ecg",
)  # fmt: skip
ENDINGS = (".hea", ".dcm", ".xml", ".scp")

_TABLE = """
ptbxl/records100/00000/00001_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00002_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00003_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00004_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00005_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00006_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00007_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00008_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00009_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00010_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00011_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00012_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00013_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00014_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00015_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00016_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00017_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00018_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00019_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00020_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00021_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00022_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00023_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00024_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00025_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00026_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00027_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00028_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00029_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00030_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00031_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00032_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00033_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00034_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00035_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00036_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00037_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00038_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00039_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00040_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00041_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00042_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00043_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00044_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00045_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00046_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00047_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00048_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00049_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00050_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00051_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00052_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00053_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00054_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00055_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00056_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00057_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00058_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00059_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00060_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00061_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00062_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00063_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00064_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00065_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00066_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00067_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00068_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00069_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00070_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00071_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00072_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00073_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00074_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00075_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00076_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00077_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00078_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00079_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00080_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00081_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00082_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00083_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00084_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00085_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00086_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00087_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00088_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00089_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00090_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00091_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00092_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00093_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00094_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00095_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00096_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00097_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00098_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00099_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00100_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00102_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00103_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00135_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00143_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00152_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00155_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00170_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00172_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00180_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00257_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00414_lr.hea wfdb 100 12 1000
ptbxl/records100/00000/00461_lr.hea wfdb 100 12 1000
ptbxl/records500/00000/00001_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00002_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00003_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00004_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00005_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00006_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00007_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00008_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00009_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00010_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00011_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00017_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00018_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00020_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00023_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00026_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00030_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00034_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00039_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00041_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00045_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00049_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00063_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00077_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00102_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00103_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00135_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00143_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00152_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00155_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00170_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00172_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00180_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00257_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00414_hr.hea wfdb 500 12 5000
ptbxl/records500/00000/00461_hr.hea wfdb 500 12 5000
cinc2021_wfdb_mat/A0689.hea wfdb 500 12 5000
cinc2021_wfdb_mat/A1041.hea wfdb 500 12 8500
cinc2021_wfdb_mat/A2712.hea wfdb 500 12 6000
cinc2021_wfdb_mat/E07500.hea wfdb 500 12 5000
cinc2021_wfdb_mat/E07501.hea wfdb 500 12 5000
cinc2021_wfdb_mat/E07502.hea wfdb 500 12 5000
cinc2021_wfdb_mat/E07503.hea wfdb 500 12 5000
cinc2021_wfdb_mat/E07504.hea wfdb 500 12 5000
cinc2021_wfdb_mat/HR06000.hea wfdb 500 12 5000
cinc2021_wfdb_mat/HR09589.hea wfdb 500 12 5000
cinc2021_wfdb_mat/JS01048.hea wfdb 500 12 5000
cinc2021_wfdb_mat/JS02990.hea wfdb 500 12 5000
cinc2021_wfdb_mat/JS05457.hea wfdb 500 12 5000
cinc2021_wfdb_mat/JS09740.hea wfdb 500 12 5000
cinc2021_wfdb_mat/JS13888.hea wfdb 500 12 5000
cinc2021_wfdb_mat/JS20409.hea wfdb 500 12 5000
cinc2021_wfdb_mat/JS23925.hea wfdb 500 12 5000
cinc2021_wfdb_mat/JS29662.hea wfdb 500 12 5000
cinc2021_wfdb_mat/JS37205.hea wfdb 500 12 5000
cinc2021_wfdb_mat/JS42161.hea wfdb 500 12 5000
code15_wfdb/1111086.hea wfdb 400 12 4096
code15_wfdb/1111129.hea wfdb 400 12 4096
code15_wfdb/111122.hea wfdb 400 12 2934
code15_wfdb/1111285.hea wfdb 400 12 4096
code15_wfdb/11114.hea wfdb 400 12 2934
code15_wfdb/1111480.hea wfdb 400 12 2934
code15_wfdb/1111528.hea wfdb 400 12 4096
code15_wfdb/1111632.hea wfdb 400 12 2934
code15_wfdb/1111688.hea wfdb 400 12 2934
code15_wfdb/1111761.hea wfdb 400 12 2934
code15_wfdb/1111813.hea wfdb 400 12 4096
code15_wfdb/1111815.hea wfdb 400 12 4096
code15_wfdb/1111827.hea wfdb 400 12 4096
code15_wfdb/1111834.hea wfdb 400 12 1205
code15_wfdb/1111845.hea wfdb 400 12 4096
code15_wfdb/1111863.hea wfdb 400 12 4096
code15_wfdb/1111960.hea wfdb 400 12 4096
code15_wfdb/1111981.hea wfdb 400 12 4096
code15_wfdb/1111984.hea wfdb 400 12 4096
code15_wfdb/1111992.hea wfdb 400 12 4096
code15_wfdb/2508934.hea wfdb 400 12 2934
code15_wfdb/2767003.hea wfdb 400 12 2934
code15_wfdb/47946.hea wfdb 400 12 2934
code15_wfdb/919058.hea wfdb 400 12 4096
code15_wfdb/919061.hea wfdb 400 12 4096
code15_wfdb/919394.hea wfdb 400 12 2934
ludb_wfdb/ludb-ecg.hea wfdb 500 12 5000
ecg_dicom/pydicom/waveform_ecg.dcm dicom 1000 12 10000
muse_xml/easyRecg/muse_ecg1.xml muse 500 8 5000
muse_xml/ecg2dcm/synthetic_muse.xml muse 500 8 5000
philips_xml/129DYPRG.XML philips 500 12 5500
philips_xml/2020-5-18_15-48-11.xml philips 500 12 5500
hl7_aecg/jhu/hl7aecg-Example2.xml aecg 1000 12 10000
scp_ecg/ecgtoolkit/Example.scp scp 500 12 5000
"""


@dataclass(frozen=True)
class Expected:
    """One line of the table; `reason` is empty where the file is to be read."""

    path: str
    format: str
    sampling_frequency: float = 0.0
    leads: int = 0
    samples: int = 0
    reason: str = ""


def _expected(line: str) -> Expected:
    path, form, *rest = line.split()
    if len(rest) == 1:
        return Expected(path, form, reason=rest[0])
    frequency, leads, samples = rest
    return Expected(path, form, float(frequency), int(leads), int(samples))


EXPECTED = {one.path: one for line in _TABLE.strip().splitlines() if (one := _expected(line))}


def present(recordings: Path) -> list[Expected]:
    """Rows of the recordings that are in the folder."""
    return [row for path, row in EXPECTED.items() if (recordings / path).is_file()]
