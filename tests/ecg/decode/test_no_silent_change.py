"""Files of every format, damaged at random: no crash, no hang, little memory, and no change without a word.

What a damaged file still gives equals the original to 1 uV outside of what the damage touched, or carries a finding.
Touched are the samples that the damaged bytes hold, or the one lead whose own gain, offset, name or compressed stream
they belong to: no format states these twice.
"""

import tracemalloc
from collections import Counter
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from data_contracts.conventions import LEADS
from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange
from echoingecg.ecg.process import best_window
from echoingecg.recipe import EcgSettings
from helpers.cases.damage import damaged_once
from helpers.ecg.ecg_files import NEED_STATED, STEP, write_every
from helpers.ecg.synthetic_hearts import twelve_leads
from helpers.ecg.wfdb_files import CLINICAL
from helpers.paths import Recording

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom tells of what it meets

STATED = ("mV", 500.0, CLINICAL)
SETTINGS = EcgSettings()
MICROVOLT = 1e-3
MOST_SECONDS = 20.0
MOST_MEMORY, FREE_MEMORY = 50, 2 << 20  # times the file; a header is read into 1 MB


def written(folder: Path, recording: Recording) -> dict[str, Path]:
    """An ECG in every format; of Philips a real one, whose calibration pulse tells of damage."""
    steps = np.rint(twelve_leads()[[LEADS.index(lead) for lead in CLINICAL]] / STEP / 2).astype(np.int64) * 2
    one, two = steps[:2]
    steps[2:6] = two - one, -(one + two) // 2, one - two // 2, two - one // 2
    files = write_every(folder, steps)
    files["philips"].write_bytes(recording("philips_xml/2020-5-18_15-48-11.xml").read_bytes())
    return files


def read(name: str, path: Path) -> tuple[np.ndarray, float]:
    found = decode(path, *(STATED if name in NEED_STATED else ()))
    return arrange(found), found.sampling_frequency


def explanation(original: tuple[np.ndarray, float], found: tuple[np.ndarray, float], touched: int) -> str:
    """Whether the change is none, confined to what was touched, or carries a finding or a refusal; else empty."""
    if found[0].shape == original[0].shape and found[1] == original[1]:
        is_same = np.isclose(found[0], original[0], rtol=0, atol=MICROVOLT, equal_nan=True)
        if is_same.all():
            return "as it was"
        if np.count_nonzero(~is_same) <= touched + 1:
            return "the samples that are hit"
        if np.count_nonzero(~is_same.all(axis=1)) <= 1:
            return "the lead that is hit"
    try:
        window = best_window(*found, SETTINGS)
    except Refusal:
        return "refused as a signal"
    return "read with a finding" if window.findings or window.quality.any() else ""


@pytest.mark.parametrize(
    ("count", "seed"), [(280, 1), *[pytest.param(1000, seed, marks=pytest.mark.slow) for seed in range(10, 15)]]
)
def test_damage_is_read_refused_or_told(
    tmp_path: Path, recording: Recording, count: int, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    files = written(tmp_path, recording)
    originals = {name: read(name, path) for name, path in files.items()}
    outcomes: Counter[str] = Counter()
    for number in range(count):
        random = np.random.default_rng((seed, number))
        name = list(files)[number % len(files)]
        parts = [path for path in (files[name].with_suffix(".hea"), files[name].with_suffix(".dat")) if path.exists()]
        parts = parts if name.startswith("wfdb") else [files[name]]
        part = parts[random.integers(len(parts))]
        whole = part.read_bytes()
        damaged, touched = damaged_once(whole, random)
        part.write_bytes(damaged)
        size = sum(path.stat().st_size for path in parts)
        start = monotonic()
        tracemalloc.start()
        try:
            found = read(name, files[name])
        except Refusal:
            found = None
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            part.write_bytes(whole)
        outcome = "refused" if found is None else explanation(originals[name], found, touched)
        outcomes[outcome] += 1
        assert outcome, (name, seed, number)
        assert peak < MOST_MEMORY * size + FREE_MEMORY, (name, seed, number)
        assert monotonic() - start < MOST_SECONDS, (name, seed, number)
    assert set(outcomes) >= {"as it was", "refused"}
    if count > 500:
        with capsys.disabled():
            print(f"\n{dict(outcomes)}", end="")  # noqa: T201 - a run of minutes
