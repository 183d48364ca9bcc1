"""Everything that is computed, in pure functions: no Prefect, no environment variable, no global path.

Folders, uppermost first: prediction, evaluation, student, simulator, teacher, pairs, catalog, ecg, recipe, common.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echoingecg.common import Refusal, UserError
    from echoingecg.prediction.api import Ecg, EcgModel, Echo, FineTuned, load, read_ecg, read_echo

    __version__: str

__all__ = ["Ecg", "EcgModel", "Echo", "FineTuned", "Refusal", "UserError", "load", "read_ecg", "read_echo"]


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is asked for: `import echoingecg` itself loads no library."""
    if name == "__version__":
        from importlib.metadata import version

        return version("echoingecg")
    if name not in __all__:
        raise AttributeError(f"module 'echoingecg' has no attribute '{name}'")
    from echoingecg import common
    from echoingecg.prediction import api

    return getattr(common if name in ("Refusal", "UserError") else api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
