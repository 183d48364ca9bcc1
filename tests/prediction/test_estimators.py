"""A student within scikit-learn's own tools."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

import echoingecg
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange


@pytest.fixture(scope="module")
def chosen(workspace: Path) -> dict[str, Any]:
    return {"student": "production", "workspace": str(workspace)}


@pytest.fixture(scope="module")
def recordings(files: list[Path]) -> np.ndarray:
    return np.stack([arrange(decode(file)) for file in files])


def test_files_and_arrays_are_embedded_as_the_model_does(
    chosen: dict[str, Any], model: echoingecg.EcgModel, files: list[Path], recordings: np.ndarray
) -> None:
    expected = np.stack(model.embed(files)["mean"].to_numpy())
    embedder = echoingecg.ECGEmbedder(**chosen).fit(files)
    np.testing.assert_array_equal(embedder.transform(files), expected)
    np.testing.assert_array_equal(embedder.transform(np.array([str(file) for file in files])), expected)
    of_arrays = echoingecg.ECGEmbedder(**chosen, sampling_frequency=500).fit_transform(recordings)
    np.testing.assert_allclose(of_arrays, expected, atol=1e-5)
    assert embedder.transform([]).shape == (0, expected.shape[1])


def test_pipelines_searches_and_scores(chosen: dict[str, Any], files: list[Path], recordings: np.ndarray) -> None:
    label, number = np.array([0, 1] * 4), np.arange(8.0)
    pipeline = make_pipeline(echoingecg.ECGEmbedder(**chosen), Ridge())
    assert pipeline.fit(files, number).predict(files).shape == (8,)
    classifier = echoingecg.EchoFindingClassifier(echoingecg.ECGEmbedder(**chosen, sampling_frequency=500))
    grid = {"C": [0.01, 10.0], "embedder__features": ["mean", "trunk"]}
    searched = GridSearchCV(classifier, grid, cv=2).fit(recordings, label)
    assert searched.best_params_["embedder__features"] in ("mean", "trunk")
    assert cross_val_score(clone(classifier), recordings, label, cv=2).shape == (2,)


def test_a_classifier_learns_its_labels_and_keeps_their_names(chosen: dict[str, Any], files: list[Path]) -> None:
    label = np.array(["normal", "reduced"] * 4)
    fitted = echoingecg.EchoFindingClassifier(echoingecg.ECGEmbedder(**chosen), C=1e4).fit(files, label)
    assert list(fitted.classes_) == ["normal", "reduced"]
    np.testing.assert_array_equal(fitted.predict(files), label)
    probability = fitted.predict_proba(files)
    np.testing.assert_allclose(probability.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.classes_[probability.argmax(axis=1)], label)
    assert fitted.score(files, label) == 1.0


def test_scikit_learns_own_checks(chosen: dict[str, Any]) -> None:
    """check_estimator skips its checks on tables of numbers, since ECGs have three dimensions."""
    embedder = echoingecg.ECGEmbedder(**chosen)
    classifier = echoingecg.EchoFindingClassifier(embedder)
    for estimator in (embedder, classifier, echoingecg.EchoFindingClassifier()):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Can't test estimator")
            check_estimator(estimator)
        assert str(clone(estimator).get_params()) == str(estimator.get_params())
    with pytest.raises(NotFittedError):
        embedder.transform([])
    with pytest.raises(NotFittedError):
        classifier.predict([])


def test_what_cannot_be_used_is_said(chosen: dict[str, Any], files: list[Path], recordings: np.ndarray) -> None:
    with pytest.raises(ValueError, match="choose 'mean' or 'trunk'"):
        echoingecg.ECGEmbedder(**chosen, features="logits").fit(files)
    embedder = echoingecg.ECGEmbedder(**chosen).fit(files)
    with pytest.raises(ValueError, match="set sampling_frequency"):
        embedder.transform(recordings)
    with pytest.raises(ValueError, match=r"shape \(8, 5000\)"):
        embedder.transform(recordings[:, 0])
    with pytest.raises(ValueError, match=r"nowhere\.hea is refused: missing_file"):
        embedder.transform([*files, Path("nowhere.hea")])
    short = echoingecg.ECGEmbedder(**chosen, sampling_frequency=500).fit(files)
    with pytest.raises(ValueError, match="ECG 0 is refused: too_short"):
        short.transform(recordings[:, :, :100])
