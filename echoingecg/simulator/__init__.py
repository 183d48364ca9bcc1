"""A paired hospital export in the MIMIC-IV layout, of patients whose hearts are known. Not for patients.

Folders, uppermost first: echo, ecg, population.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echoingecg.simulator.export import simulate

__all__ = ["CODE_VERSION", "simulate"]

CODE_VERSION = 2  # raise when the same settings give other bytes


def __getattr__(name: str) -> Any:
    """Loads `simulate` on first use: it needs OpenCV, which this package must not import."""
    if name == "simulate":
        from echoingecg.simulator.export import simulate

        return simulate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
