"""Fixtures of the evaluation's tests."""

from pathlib import Path

import pytest

from echoingecg.evaluation.evaluate import EvaluationInputs, evaluate
from echoingecg.recipe import EvaluationSettings, FewShotSettings
from helpers.cases.evaluation_case import LVEF, lvef_below, make_inputs


@pytest.fixture(scope="session")
def inputs() -> EvaluationInputs:
    return make_inputs()


@pytest.fixture(scope="session")
def settings() -> EvaluationSettings:
    few = FewShotSettings(cases=(1, 8, 500), draws=5)
    return EvaluationSettings(
        endpoints=(lvef_below(40), lvef_below(50)), regressions=(LVEF,), bootstrap_draws=200, few_shot=few
    )


@pytest.fixture(scope="session")
def evaluated(inputs: EvaluationInputs, settings: EvaluationSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one evaluation of the planted case."""
    folder = tmp_path_factory.mktemp("evaluation")
    evaluate(inputs, settings, folder)
    return folder
