"""Everything that is computed, in pure functions: no Prefect, no environment variable, no global path.

Folders, uppermost first: prediction, evaluation, student, simulator, teacher, pairs, catalog, ecg, recipe, common.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from echoingecg.common import Refusal, UserError
    from echoingecg.prediction.api import Ecg, EcgModel, Echo, FineTuned, load, read_ecg, read_echo
    from echoingecg.prediction.estimators import ECGEmbedder, EchoFindingClassifier
    from echoingecg.prediction.hub import export_hub, push_to_hub

    __version__: str

_MODULES = {  # where each public name is
    "common": ("Refusal", "UserError"),
    "prediction.api": ("Ecg", "EcgModel", "Echo", "FineTuned", "load", "read_ecg", "read_echo"),
    "prediction.estimators": ("ECGEmbedder", "EchoFindingClassifier"),
    "prediction.hub": ("export_hub", "push_to_hub"),
}
__all__ = [
    "ECGEmbedder", "Ecg", "EcgModel", "Echo", "EchoFindingClassifier", "FineTuned", "Refusal", "UserError",
    "export_hub", "load", "push_to_hub", "read_ecg", "read_echo",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Imports what is asked for when it is asked for: `import echoingecg` itself loads no library."""
    if name == "__version__":
        from importlib.metadata import version

        return version("echoingecg")
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"echoingecg.{module}"), name)
    raise AttributeError(f"module 'echoingecg' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
