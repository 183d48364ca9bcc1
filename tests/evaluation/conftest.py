"""Fixtures of the evaluation's tests."""

from pathlib import Path

import pytest
from evaluation_case import lvef_below, make_inputs

from echoingecg.evaluation.evaluate import EvaluationInputs, evaluate
from echoingecg.recipe import EvaluationSettings


@pytest.fixture(scope="session")
def inputs() -> EvaluationInputs:
    return make_inputs()


@pytest.fixture(scope="session")
def settings() -> EvaluationSettings:
    return EvaluationSettings(endpoints=(lvef_below(40), lvef_below(50)), bootstrap_draws=200)


@pytest.fixture(scope="session")
def evaluated(inputs: EvaluationInputs, settings: EvaluationSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one evaluation of the planted case."""
    folder = tmp_path_factory.mktemp("evaluation")
    evaluate(inputs, settings, folder)
    return folder
