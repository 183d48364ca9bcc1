"""Libraries that read a patient's files must not quote them: their warnings and log lines hold names and dates."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Final

_FILTERS: Final = RLock()  # Python's list of warning filters is one for all threads

# pydicom logs what it warns of. Nothing of it reaches the handlers of whoever runs this, Prefect's among them.
_PYDICOM: Final = logging.getLogger("pydicom")
_PYDICOM.addHandler(logging.NullHandler())
_PYDICOM.propagate = False


@contextmanager
def unquoted() -> Iterator[None]:
    """Drops warnings. One thread at a time."""
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
