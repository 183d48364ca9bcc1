"""One ECG in every format gives one signal; stored order and units never matter."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_contracts.conventions import LEADS
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange, complete
from helpers.ecg.ecg_files import (
    NEED_STATED,
    STEP,
    ecg_steps,
    write_aecg,
    write_edf,
    write_every,
    write_muse,
    write_npy,
    write_philips,
    write_wfdb,
)  # fmt: skip
from helpers.ecg.scp_files import write_scp
from helpers.ecg.wfdb_files import CLINICAL, write_record
from helpers.paths import Recording

STEPS = ecg_steps()
EXPECTED = STEPS[[CLINICAL.index(lead) for lead in LEADS]] * STEP
STATED = {"stated_unit": "mV", "stated_sampling_frequency": 500.0, "stated_leads": CLINICAL}
MICROVOLT = 1e-3
QUIET = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_every_format_agrees(tmp_path: Path) -> None:
    for name, path in write_every(tmp_path, STEPS).items():
        found = decode(path, **(STATED if name in NEED_STATED else {}))  # type: ignore[arg-type]
        assert found.sampling_frequency == 500, name
        np.testing.assert_allclose(arrange(found), EXPECTED, atol=MICROVOLT * 1e-6, err_msg=name)
        assert complete(found).derived == (("III", "aVR", "aVL", "aVF") if name == "muse" else ())


def test_a_real_ecg_in_every_format(recording: Recording, tmp_path: Path) -> None:
    """PTB-XL's first record, rounded to steps of 5 uV, its limb leads made exact."""
    stored = decode(recording("ptbxl/records500/00000/00001_hr.hea"))
    order = [list(stored.leads).index(lead) if lead in stored.leads else -1 for lead in CLINICAL]
    assert order[:3] == [0, 1, 2]
    signal = arrange(stored)[[LEADS.index(lead) for lead in CLINICAL]]
    steps = np.rint(signal / STEP / 2).astype(np.int64) * 2
    one, two = steps[:2]
    steps[2:6] = two - one, -(one + two) // 2, one - two // 2, two - one // 2
    expected = arrange(decode(write_wfdb(tmp_path, steps)))
    np.testing.assert_allclose(expected, arrange(stored), atol=0.025)
    for name, path in write_every(tmp_path, steps).items():
        found = arrange(decode(path, **(STATED if name in NEED_STATED else {})))  # type: ignore[arg-type]
        assert np.abs(found - expected).max() < MICROVOLT, name


@given(order=st.permutations(range(12)))
@QUIET
def test_stored_order_never_matters(tmp_path: Path, order: list[int]) -> None:
    rows, names = STEPS[order], [CLINICAL[row] for row in order]
    files = [
        write_record(tmp_path / "rec", rows.T * STEP, sig_name=names),
        write_aecg(tmp_path, STEPS, order=order),
        write_scp(tmp_path, rows, names=names),
    ]
    for path in files:
        np.testing.assert_allclose(arrange(decode(path)), EXPECTED, atol=1e-9)
    stated = STATED | {"stated_leads": names}
    np.testing.assert_allclose(
        arrange(decode(write_npy(tmp_path, rows), **stated)), EXPECTED, atol=1e-9  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(("unit", "factor"), [("nV", 1e3), ("uV", 1.0), ("mV", 1e-3), ("V", 1e-6)])
def test_units_never_matter(tmp_path: Path, unit: str, factor: float) -> None:
    words = {"nV": "NANOVOLTS", "uV": "MICROVOLTS", "mV": "MILLIVOLTS", "V": "VOLTS"}
    files = [
        write_muse(tmp_path, STEPS, unit=words[unit], per_bit=f"{5 * factor:g}"),
        write_aecg(tmp_path, STEPS, unit=unit, scale=f"{5 * factor:g}"),
        write_edf(tmp_path, STEPS, unit=unit, factor=factor),
    ]
    for path in files:
        np.testing.assert_allclose(arrange(decode(path)), EXPECTED, atol=1e-9)
    (tmp_path / "ecg.npy").unlink(missing_ok=True)
    np.save(tmp_path / "ecg.npy", STEPS * (STEP * 1e3 * factor))
    stated = STATED | {"stated_unit": unit}
    np.testing.assert_allclose(arrange(decode(tmp_path / "ecg.npy", **stated)), EXPECTED, atol=1e-9)  # type: ignore[arg-type]


def test_the_order_of_mimic_is_mapped_by_name(tmp_path: Path) -> None:
    """MIMIC-IV-ECG stores aVF before aVL: a file in that order and one in clinical order give the same."""
    assert LEADS.index("aVF") + 1 == LEADS.index("aVL")
    mimic = [CLINICAL.index(lead) for lead in LEADS]
    path = write_record(tmp_path / "mimic", STEPS[mimic].T * STEP, sig_name=list(LEADS))
    found = decode(path)
    assert found.leads == LEADS
    np.testing.assert_allclose(arrange(found), EXPECTED, atol=1e-9)
    np.testing.assert_allclose(arrange(decode(write_wfdb(tmp_path, STEPS))), EXPECTED, atol=1e-9)
    assert np.abs(EXPECTED[LEADS.index("aVF")] - EXPECTED[LEADS.index("aVL")]).max() > 0.3


@pytest.mark.parametrize("version", ["1.03", "1.03.01", "1.04", "1.04.01"])
@pytest.mark.parametrize("labels", [True, False])
def test_versions_of_philips(tmp_path: Path, version: str, labels: bool) -> None:
    found = decode(write_philips(tmp_path, STEPS, version=version, labels=labels))
    np.testing.assert_allclose(arrange(found), EXPECTED, atol=1e-9)
