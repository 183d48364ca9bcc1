"""Lists of the size of MIMIC-IV-ECG and MIMIC-IV-ECHO, written by a script that is not part of this project."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.paths import CASES, ROOT

ECGS, CLIPS, EXAMS, MEASUREMENTS = 800_035, 525_328, 206_488, 28_000_000
GIGABYTES, SECONDS = 2.0, 360.0
HEADER = "subject_id,measurement_id,measurement_datetime,test_type,measurement,measurement_description,result,unit"
ASKED = (("lvef", 50, "%"), ("lvef_upper", 55, "%"), ("septal_thickness", 1.1, "cm"), ("inf_lat_thickness", 1.0, "cm"),
         ("lvedd", 4.8, "cm"), ("lvesd", 3.1, "cm"))  # fmt: skip

_MAKE = """
import json, resource, sys, time
from pathlib import Path
from echoingecg.catalog.build import build_catalog
from echoingecg.catalog.scan import scan
from flows.request import find_recipe

def gigabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

settings, base, began = find_recipe("paper", []).catalog, gigabytes(), time.monotonic()
catalog = build_catalog(scan(Path(sys.argv[1]), settings, b"mimic-iv"), b"mimic-iv")
print(json.dumps({
    "gigabytes": gigabytes() - base, "seconds": time.monotonic() - began,
    **{name: catalog.tables[name].num_rows for name in ("quarantine", "measurements")},
}))
"""


def write_measurements(path: Path, patients: list[str]) -> None:
    """28 million rows of as many exams as were published: numbers that endpoints ask for, and many other results."""
    others = MEASUREMENTS // EXAMS + 1 - len(ASKED)
    rows = [f"{name},{name} of the left ventricle,{value},{unit}" for name, value, unit in ASKED]
    rows += [f"other_{number},a result in words,Mild (1+)," for number in range(others)]
    with path.open("w") as file:
        file.write(HEADER + "\n")
        for exam in range(EXAMS):
            start = f"{patients[exam % len(patients)]},{70_000_000 + exam},2150-03-{exam % 28 + 1:02d} 10:00:00,tte,"
            file.write("".join(f"{start}{row}\n" for row in rows))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_catalog_of_the_release_takes_two_gigabytes_and_six_minutes(tmp_path: Path) -> None:
    script = CASES / "layouts/make_scale.py"
    if not script.is_file():
        pytest.skip("needs 'cases' in a folder 'shared' beside the checkout, or ECHOINGECG_SHARED")
    subprocess.run([sys.executable, script, tmp_path, "0"], check=True)
    with (tmp_path / "mimic-iv-ecg/record_list.csv").open() as file:
        patients = sorted({line.split(",")[0] for line in file} - {"subject_id"})
    write_measurements(tmp_path / "mimic-iv-echo/structured_measurement.csv", patients)
    command = [sys.executable, "-c", _MAKE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    made = json.loads(done.stdout)
    assert made["quarantine"] == ECGS + CLIPS, "none of the listed files is there"
    assert made["measurements"] == 4 * EXAMS, "the questions of 'paper' ask for four of the measurements"
    assert made["gigabytes"] < GIGABYTES
    assert made["seconds"] < SECONDS
