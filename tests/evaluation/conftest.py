"""Fixtures of the evaluation's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from echoingecg.evaluation.evaluate import EvaluationInputs, evaluate
from echoingecg.evaluation.protocols import trust
from echoingecg.recipe import EvaluationSettings, FewShotSettings
from helpers.cases.evaluation_case import LVEF, lvef_below, make_inputs


@pytest.fixture(scope="session", autouse=True)
def few_copies() -> Iterator[None]:
    """Few disturbed copies of training ECGs: 300 of them would take most of a test's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust, "MAX_COPIED", 60)
        yield


@pytest.fixture(scope="session")
def inputs() -> EvaluationInputs:
    return make_inputs()


@pytest.fixture(scope="session")
def settings() -> EvaluationSettings:
    few = FewShotSettings(cases=(1, 8, 500), draws=5)
    return EvaluationSettings(
        endpoints=(lvef_below(40), lvef_below(50)),
        regressions=(LVEF,),
        bootstrap_draws=200,
        few_shot=few,
        stress_ecgs=6,
    )


@pytest.fixture(scope="session")
def evaluated(inputs: EvaluationInputs, settings: EvaluationSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one evaluation of the planted case."""
    folder = tmp_path_factory.mktemp("evaluation")
    evaluate(inputs, settings, folder)
    return folder
