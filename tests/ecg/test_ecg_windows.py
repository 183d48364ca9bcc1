"""Length policy: shorter than 10 s, longer than 10 s."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_hearts import twelve_leads

from data_contracts.conventions import LEADS
from data_contracts.ecg import QUALITY_FLAGS, RECORD_FLAGS
from echoingecg.ecg.process import choose
from echoingecg.ecg.windows import windows
from echoingecg.errors import Refusal
from echoingecg.recipe import EcgSettings

SHORT = twelve_leads(seconds=6.0)
LONG = twelve_leads(seconds=30.0)


def test_shorter_is_refused_unless_the_recipe_admits_it() -> None:
    for settings in (EcgSettings(), EcgSettings(short="refuse", min_duration=5.0), EcgSettings(min_duration=7.0)):
        with pytest.raises(Refusal, match=r"too_short: 6\.00 s"):
            choose(SHORT, 500, settings)
    done = choose(SHORT, 500, EcgSettings(min_duration=5.0))
    assert done.findings == RECORD_FLAGS["short"]
    assert not done.quality.any()


def test_padded_with_rest_or_repeated() -> None:
    padded = choose(SHORT, 500, EcgSettings(min_duration=5.0)).signal
    assert not padded[:, 600:].any()
    repeated = choose(SHORT, 500, EcgSettings(min_duration=5.0, short="repeat"))
    np.testing.assert_array_equal(repeated.signal[:, :600], padded[:, :600])
    np.testing.assert_array_equal(repeated.signal[:, 600:], padded[:, :400])
    assert repeated.findings == RECORD_FLAGS["short"]


def test_one_missing_sample_is_not_short() -> None:
    assert choose(LONG[:, :4999], 500, EcgSettings()).findings == 0


def test_the_first_ten_seconds_by_default() -> None:
    np.testing.assert_array_equal(
        choose(LONG, 500, EcgSettings()).signal, choose(LONG[:, :5000], 500, EcgSettings()).signal
    )


def test_the_best_window_leaves_the_fault_behind() -> None:
    """Spikes at 1 and 11 s: of windows every 5 s, the one from 15 s is the first without."""
    settings = EcgSettings(long="best")
    loose = LONG.copy()
    row = LEADS.index("V3")
    loose[row, [500, 501, 5500, 5501]] += 80
    done = choose(loose, 500, settings)
    assert not done.quality.any()
    np.testing.assert_array_equal(done.signal, choose(loose[:, 7500:12500], 500, settings).signal)
    assert choose(loose, 500, EcgSettings()).quality[row] == QUALITY_FLAGS["amplitude"]
    np.testing.assert_array_equal(choose(LONG, 500, settings).signal, choose(LONG, 500, EcgSettings()).signal)


def test_a_window_that_cannot_be_used_is_passed_over() -> None:
    holed = LONG.copy()
    holed[0, 100] = np.nan
    with pytest.raises(Refusal, match="nan"):
        choose(holed, 500, EcgSettings())
    assert choose(holed, 500, EcgSettings(long="best")).findings == 0
    holed[0, ::100] = np.nan
    with pytest.raises(Refusal, match="nan"):
        choose(holed, 500, EcgSettings(long="best"))


@given(time=st.integers(1, 200_000), fs=st.sampled_from([100.0, 250.0, 257.3, 500.0]), step=st.floats(0.1, 20))
def test_windows_lie_inside_and_reach_the_end(time: int, fs: float, step: float) -> None:
    found = windows(time, fs, EcgSettings(long="best", window_step=step))
    assert found[0].start == 0
    assert found[-1].stop == time
    assert len({one.stop - one.start for one in found}) == 1
    assert [one.start for one in found] == sorted({one.start for one in found})
    assert found[0] == windows(time, fs, EcgSettings())[0]
