"""EchoNext (PhysioNet 1.1), told apart in order to be refused with the reasons.

Its `.npy` arrays (N, 1, 2500, 12) hold waveforms that the publisher has median-filtered, clipped and standardised:
no unit leads back to millivolts. Its table gives the year of an ECG, no time, and the lead order stands in no file.
"""

from typing import Final, NoReturn

from echoingecg.catalog.layouts.base import Tables
from echoingecg.catalog.listing import Layout
from echoingecg.common.errors import ExportError

_METADATA: Final = ("echonext_metadata_100k.csv", "EchoNext_metadata_100k.csv")


def _refuse(tables: Tables) -> NoReturn:
    raise ExportError(
        "EchoNext cannot be read: its waveforms are standardised and have no amplitude unit, "
        "its ECGs have a year but no time"
    )


LAYOUT: Final = Layout("echonext", 1, _METADATA, _METADATA, _refuse, _refuse)
