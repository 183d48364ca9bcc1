"""Length policy: shorter than 10 s, longer than 10 s."""

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.conventions import FINDING_RULES, LEADS, FindingRule
from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS, RECORDS
from data_contracts.quarantine import QUARANTINE
from echoingecg.common import Refusal
from echoingecg.ecg.process import best_window, cut_windows, process_loaded
from echoingecg.ecg.windows import Processed, window_slices
from echoingecg.recipe import EcgSettings
from flows.request import find_recipe
from helpers.cases.public_jobs import make_job
from helpers.cases.stage_runs import run_stages
from helpers.ecg.synthetic_hearts import twelve_leads
from helpers.ecg.wfdb_files import write_record
from tasks.pools import PoolSignals

SHORT = twelve_leads(seconds=6.0)
published = partial(EcgSettings, edge="published")  # each window is filtered alone, so that its bytes can be compared
LONG = twelve_leads(seconds=30.0)


def test_shorter_is_refused_unless_the_recipe_admits_it() -> None:
    for settings in (published(), published(short="refuse", min_duration=5.0), published(min_duration=7.0)):
        with pytest.raises(Refusal, match=r"too_short: 6\.00 s"):
            best_window(SHORT, 500, settings)
    done = best_window(SHORT, 500, published(min_duration=5.0))
    assert done.findings == RECORD_FLAGS["short"]
    assert not done.quality.any()


def test_padded_with_rest_or_repeated() -> None:
    padded = best_window(SHORT, 500, published(min_duration=5.0)).signal
    assert not padded[:, 600:].any()
    repeated = best_window(SHORT, 500, published(min_duration=5.0, short="repeat"))
    np.testing.assert_array_equal(repeated.signal[:, :600], padded[:, :600])
    np.testing.assert_array_equal(repeated.signal[:, 600:], padded[:, :400])
    assert repeated.findings == RECORD_FLAGS["short"]


def test_one_missing_sample_is_not_short() -> None:
    assert best_window(LONG[:, :4999], 500, published()).findings == 0


def test_the_first_ten_seconds_by_default() -> None:
    np.testing.assert_array_equal(
        best_window(LONG, 500, published()).signal, best_window(LONG[:, :5000], 500, published()).signal
    )


def test_the_best_window_leaves_the_fault_behind() -> None:
    """Spikes at 1 and 11 s: of windows every 5 s, the one from 15 s is the first without."""
    settings = published(long="best")
    loose = LONG.copy()
    row = LEADS.index("V3")
    loose[row, [500, 501, 5500, 5501]] += 80
    done = best_window(loose, 500, settings)
    assert not done.quality.any()
    np.testing.assert_array_equal(done.signal, best_window(loose[:, 7500:12500], 500, settings).signal)
    assert best_window(loose[:, :5000], 500, published()).quality[row] == QUALITY_FLAGS["amplitude"]
    np.testing.assert_array_equal(best_window(LONG, 500, settings).signal, best_window(LONG, 500, published()).signal)


def test_a_window_that_cannot_be_used_is_passed_over() -> None:
    holed = LONG.copy()
    holed[0, 100] = np.nan
    for long in ("first", "best"):
        done = best_window(holed, 500, published(long=long))
        assert done.findings == 0
        assert done.start == 2500
    holed[0, ::100] = np.nan
    for long in ("first", "best"):
        with pytest.raises(Refusal, match="nan"):
            best_window(holed, 500, published(long=long))


@pytest.mark.parametrize("long", ["first", "best"])
@pytest.mark.parametrize("rule", FINDING_RULES)
def test_another_window_is_taken_where_the_first_would_be_referred_or_refused(long: str, rule: FindingRule) -> None:
    """V1 is flat from 3 to 18 s; of windows every 5 s the one from 20 s is the first without."""
    held = LONG.copy()
    held[LEADS.index("V1"), 1500:9000] = 0.2
    settings = published(long=long, rules={"flat_seconds": rule, "flat": rule, "disconnected": rule})
    done = best_window(held, 500, settings)
    is_first = long == "first" and rule in ("keep", "leave_out")
    assert done.start == (0 if is_first else 10000)
    (outcome,) = process_loaded([cut_windows(held.astype(np.float32), 500, settings)], settings)
    assert isinstance(outcome, Processed)
    assert outcome.start == done.start
    np.testing.assert_array_equal(outcome.signal, done.signal)


def test_the_first_window_stays_where_no_window_is_better() -> None:
    held = LONG.copy()
    held[LEADS.index("V1")] = 0.2
    assert best_window(held, 500, published()).start == 0
    held[:, :5000] = 0.0  # refused: a window that is referred is better
    assert best_window(held, 500, published()).start == 2500


def test_windows_of_a_recording_do_not_touch_each_other() -> None:
    """A recording beside one that needs another window keeps its bytes; later windows are those of `best`."""
    held = LONG.astype(np.float32)
    held[:, 2000:4500] = 0.0
    loaded = [cut_windows(signal, 500.0, published()) for signal in (LONG.astype(np.float32), held)]
    sound, other = process_loaded(loaded, published())
    assert isinstance(sound, Processed)
    assert isinstance(other, Processed)
    assert (sound.start, other.start) == (0, 5000)
    np.testing.assert_array_equal(sound.signal, best_window(LONG[:, :5000], 500, published()).signal)
    np.testing.assert_array_equal(other.signal, best_window(held[:, 5000:10000], 500, published()).signal)


@given(time=st.integers(1, 200_000), fs=st.sampled_from([100.0, 250.0, 257.3, 500.0]), step=st.floats(0.1, 20))
def test_windows_lie_inside_and_reach_the_end(time: int, fs: float, step: float) -> None:
    found = window_slices(time, fs, published(long="best", window_step=step))
    assert found[0].start == 0
    assert found[-1].stop == time
    assert len({one.stop - one.start for one in found}) == 1
    assert [one.start for one in found] == sorted({one.start for one in found})
    assert found[0] == window_slices(time, fs, published())[0]


def _export(root: Path, ecgs: dict[str, np.ndarray]) -> Path:
    """Layout generic: a WFDB record each, and the first ECG once more as an array whose facts the table states."""
    (root / "ecgs").mkdir(parents=True)
    rows = []
    for number, (name, signal) in enumerate(ecgs.items()):
        write_record(root / "ecgs" / name, signal.T, sig_name=list(LEADS))
        rows.append([name, 1, f"2021-03-0{number + 1} 08:00:00", f"ecgs/{name}", "", "", ""])
    np.save(root / "ecgs/array.npy", 1000 * next(iter(ecgs.values())))
    rows.append(["array", 1, "2021-03-09 08:00:00", "ecgs/array.npy", "uV", "500", ";".join(LEADS)])
    with (root / "ecgs.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["patient_id", "ecg_id", "time", "path", "unit", "sampling_frequency", "leads"], *rows]
        )
    return root


@pytest.mark.parametrize("commit_every", [1, 2000])
def test_several_windows_are_ecgs_of_their_own(tmp_path: Path, commit_every: int) -> None:
    """30 s with a gap in the second of three windows, 30 s, 10 s, 30 s all gaps; one a commit falls between windows."""
    holed, hopeless = LONG.copy(), LONG.copy()
    holed[3, 6000] = hopeless[3, ::500] = np.nan
    export = _export(
        tmp_path / "export", {"whole": LONG, "holed": holed, "ten": LONG[:, 5000:10000], "hopeless": hopeless}
    )
    settings = ["catalog.layout=generic", "catalog.public_key=open", "ecg.long=several", "ecg.window_step=10",
                "ecg.max_refused_share=0.5", f"execution.commit_every={commit_every}"]  # fmt: skip
    job = make_job(find_recipe("paper", settings), str(export), str(tmp_path / "workspace"))
    artefact = run_stages(job, "catalog", "ecg").artefacts["ecg"]
    records, signals = RECORDS.read(artefact.folder).to_pylist(), PoolSignals(job.workspace, artefact)
    found: dict[str, list[np.ndarray]] = {}
    for at, row in enumerate(records):
        found.setdefault(row["recording_id"], []).append(signals.read(np.array([at]))[0])
        assert row["record_id"].startswith(row["recording_id"])
    assert sorted(map(len, found.values())) == [1, 2, 3, 3]
    assert [row["reason"] for row in QUARANTINE.read(artefact.folder).to_pylist()] == ["nan"]
    windows_of_long = [
        best_window(LONG[:, start : start + 5000], 500, published()).signal for start in (0, 5000, 10000)
    ]
    expected = {1: windows_of_long[1:2], 2: windows_of_long[::2], 3: windows_of_long}
    for some in found.values():  # WFDB keeps whole microvolts
        np.testing.assert_allclose(some, expected[len(some)], atol=0.001)
