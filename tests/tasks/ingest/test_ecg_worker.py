"""A block of ECGs: what one record does to the others."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from echoingecg.common import Refusal
from echoingecg.ecg.process import Loaded, Processed, Window, process_loaded, process_loaded_safely
from echoingecg.recipe import EcgSettings
from helpers.ecg.synthetic_hearts import twelve_leads
from helpers.ecg.wfdb_files import heartbeats, write_record
from helpers.paths import ROOT


def loaded(raw: np.ndarray) -> Loaded:
    return Loaded((Window(raw.astype(np.float32), np.zeros(12), 0),), 500.0)


def test_a_record_that_surprises_the_filter_stops_no_other() -> None:
    sound = loaded(twelve_leads())
    odd = loaded(sound.windows[0].raw[:11])  # no decoder gives eleven leads: a surprise
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it is, it is no Refusal
        process_loaded([odd], EcgSettings())
    first, surprise, last = process_loaded_safely([sound, odd, sound], EcgSettings())
    (alone,) = process_loaded([sound], EcgSettings())
    assert isinstance(surprise, Refusal)
    assert surprise.reason == "unreadable"
    assert isinstance(alone, Processed)
    for one in (first, last):
        assert isinstance(one, Processed)
        assert one.signal.tobytes() == alone.signal.tobytes()


def test_common_recordings_need_none_of_the_libraries_that_take_long_to_import(tmp_path: Path) -> None:
    record = write_record(tmp_path / "record", heartbeats())
    code = (
        "import sys; from pathlib import Path; from echoingecg.ecg.process import process; "
        "from echoingecg.recipe import EcgSettings; process(Path(sys.argv[1]), EcgSettings()); "
        "print([m for m in ('scipy', 'pydicom', 'wfdb', 'edfio', 'h5py') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code, str(record)], capture_output=True, text=True, cwd=ROOT)
    assert (run.returncode, run.stdout, run.stderr) == (0, "[]\n", "")
