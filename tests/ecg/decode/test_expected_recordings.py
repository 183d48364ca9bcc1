"""Every real ECG against the table that was set down first, and what must hold of each."""

from pathlib import Path

import numpy as np
import pytest

from echoingecg.common import Refusal
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange, complete, limb_lead_error
from echoingecg.ecg.filter import band_pass_and_resample
from echoingecg.ecg.quality import check_plausible, typical_amplitude
from echoingecg.recipe import EcgSettings
from helpers.ecg.expected_recordings import ENDINGS, EXPECTED, FOLDERS, present

SETTINGS = EcgSettings()
NAMES = {
    "wfdb": "WFDB", "dicom": "DICOM", "muse": "GE MUSE", "philips": "Philips", "aecg": "HL7 aECG", "scp": "SCP-ECG"
}  # fmt: skip


def test_the_table_lists_every_file(all_recordings: Path) -> None:
    files = {
        path.relative_to(all_recordings).as_posix()
        for folder in FOLDERS
        for path in (all_recordings / folder).rglob("*")
        if path.suffix.lower() in ENDINGS
    }
    assert files == set(EXPECTED)


@pytest.mark.parametrize("folder", FOLDERS)
def test_rate_leads_and_length(recordings: Path, folder: str) -> None:
    expected = [one for one in present(recordings) if one.path.startswith(folder + "/")]
    if not expected:
        pytest.skip(f"no recording of {folder} is here")
    for one in expected:
        if one.reason:
            with pytest.raises(Refusal) as refusal:
                decode(recordings / one.path)
            assert refusal.value.reason == one.reason, one.path
            continue
        found = decode(recordings / one.path)
        assert found.format == NAMES[one.format], one.path
        assert (found.sampling_frequency, *found.signal.shape) == (one.sampling_frequency, one.leads, one.samples), one
        derived = complete(found).derived
        assert derived == (("III", "aVR", "aVL", "aVF") if one.leads == 8 else ())
        assert found.derived == ()
        assert arrange(found).shape == (12, one.samples)
        assert not np.isnan(found.signal).any()


@pytest.fixture(scope="module")
def arranged(recordings: Path) -> dict[str, tuple[np.ndarray, float]]:
    """The first 10 s of every record that is read, and its rate."""
    found = {one.path: decode(recordings / one.path) for one in present(recordings) if not one.reason}
    return {
        path: (arrange(one)[:, : round(10 * one.sampling_frequency)], one.sampling_frequency)
        for path, one in found.items()
    }


def test_no_genuine_record_is_implausible(arranged: dict[str, tuple[np.ndarray, float]]) -> None:
    for signal, frequency in arranged.values():
        check_plausible(float(typical_amplitude(signal, frequency)), SETTINGS)


@pytest.mark.usefixtures("all_recordings")
def test_wrong_gains_are_implausible(arranged: dict[str, tuple[np.ndarray, float]]) -> None:
    """A thousandfold gain is always caught; a fivefold one unless the heart's voltage makes up for it."""
    heights = np.array([typical_amplitude(signal, frequency) for signal, frequency in arranged.values()])
    assert (heights * 1000 > SETTINGS.typical_high_mv).all()
    assert (heights / 1000 < SETTINGS.typical_low_mv).all()
    assert (heights * 5 > SETTINGS.typical_high_mv).mean() > 0.75
    assert (heights / 5 < SETTINGS.typical_low_mv).mean() > 0.65
    signal, frequency = arranged["ecg_dicom/pydicom/waveform_ecg.dcm"]
    for factor in (5.0, 1000.0, 0.2, 0.001):
        with pytest.raises(Refusal, match="implausible"):
            check_plausible(float(typical_amplitude(signal * factor, frequency)), SETTINGS)


def limb_share(signal: np.ndarray) -> float:
    """Of a signal that was filtered: offsets of single leads do not count."""
    return float(limb_lead_error(signal)[1])


@pytest.fixture(scope="module")
def filtered(arranged: dict[str, tuple[np.ndarray, float]]) -> dict[str, np.ndarray]:
    return {
        path: band_pass_and_resample(signal, frequency, EcgSettings()) for path, (signal, frequency) in arranged.items()
    }


def test_limb_leads_agree_where_all_are_stored(filtered: dict[str, np.ndarray]) -> None:
    """LUDB's record was scaled lead by lead by its publisher, and disagrees."""
    disagreement = {path: limb_share(signal) for path, signal in filtered.items()}
    assert {path for path, value in disagreement.items() if value > 0.05} == {
        "ludb_wfdb/ludb-ecg.hea"
    } & filtered.keys()


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5), (0, 5)])
def test_swapped_names_of_limb_leads_are_seen(filtered: dict[str, np.ndarray], one: int, other: int) -> None:
    seen = []
    for signal in filtered.values():
        swapped = signal.copy()
        swapped[[one, other]] = signal[[other, one]]
        seen.append(limb_share(swapped))
    assert np.mean(np.array(seen) > 0.2) > 0.97
