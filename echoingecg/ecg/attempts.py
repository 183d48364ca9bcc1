"""Many ECGs filtered together, each as itself or as its refusal."""

from collections.abc import Sequence
from functools import partial

from echoingecg.common.errors import Refusal, outcome_of
from echoingecg.ecg.process import Loaded, Processed, finish
from echoingecg.recipe import EcgSettings


def finish_each(loaded: Sequence[Loaded], settings: EcgSettings) -> list[Processed | Refusal]:
    """As `finish`; a record that surprises it is refused, and stops no other."""
    found = outcome_of(partial(finish, loaded, settings))
    if not isinstance(found, Refusal):
        return found
    return [found] if len(loaded) == 1 else [outcome for one in loaded for outcome in finish_each([one], settings)]
