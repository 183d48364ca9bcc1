"""A trained student behind scikit-learn's interface: ECGs in, embeddings or a classifier of your labels out.

    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    make_pipeline(ECGEmbedder("production", workspace="workspace"), Ridge()).fit(files, lvef)

Both work with pipelines, `clone`, `GridSearchCV` and `cross_val_score`. ECGs are files, or an array of recordings.
"""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from data_contracts.conventions import LEADS
from echoingecg.common import Refusal
from echoingecg.prediction.api import EcgModel, load

Ecgs = Sequence[str | PathLike[str]] | np.ndarray
_ECGS_AT_ONCE = 256


class ECGEmbedder(TransformerMixin, BaseEstimator):
    """Turns ECGs into the means of their Gaussians. It learns nothing from the ECGs that it is fitted on.

    Args:
        student: as `echoingecg.load` takes it.
        workspace: likewise.
        sampling_frequency: of the recordings, Hz; needed for arrays.
        features: 'mean', the embedding (n, D); 'trunk', the features below it, (n, F), which probes often do better on.
        device: 'cpu' or 'cuda'.
    """

    def __init__(
        self,
        student: str = "production",
        workspace: str | None = None,
        sampling_frequency: float | None = None,
        features: str = "mean",
        device: str = "cpu",
    ) -> None:
        self.student = student
        self.workspace = workspace
        self.sampling_frequency = sampling_frequency
        self.features = features
        self.device = device

    def fit(self, X: Ecgs, y: object = None) -> Self:
        """Loads the student. Raises as `echoingecg.load`; ValueError for another kind of features."""
        if self.features not in ("mean", "trunk"):
            raise ValueError(f"features='{self.features}': choose 'mean' or 'trunk'")
        self.model_: EcgModel = load(self.student, workspace=self.workspace, device=self.device)
        return self

    def transform(self, X: Ecgs) -> np.ndarray:
        """Embeds ECGs, float32 (n, D) or (n, F).

        Args:
            X: n files of any accepted format, or float (n, 12, time), mV as recorded, NaN where missing, leads in the
                order of conventions.LEADS.

        Raises:
            ValueError: an array of another shape, or without `sampling_frequency`; an ECG that cannot be trusted, with
                the reason: leave it out.
        """
        check_is_fitted(self, "model_")
        signals = self._signals(X)
        student = self.model_.reader.student
        parts = [
            student.embed_ecg_with_features(signals[first : first + _ECGS_AT_ONCE])
            for first in range(0, max(len(signals), 1), _ECGS_AT_ONCE)
        ]
        return np.concatenate([part[0 if self.features == "mean" else 2] for part in parts])

    def _signals(self, X: Ecgs) -> np.ndarray:
        """Filtered signals, float32 (n, 12, 1000), mV."""
        from echoingecg.ecg.process import best_window
        from echoingecg.prediction.predictor import read_signals, stack_signals

        settings = self.model_.reader.settings
        if not isinstance(X, np.ndarray) or X.dtype.kind in "OUS":
            files = [str(Path(file)) for file in X]
            outcomes = list(read_signals(files, settings))
        else:
            if X.ndim != 3 or X.shape[1] != len(LEADS):
                raise ValueError(f"ECGs of shape {X.shape}: (n, {len(LEADS)}, time) is expected")
            if self.sampling_frequency is None:
                raise ValueError("arrays state no rate: set sampling_frequency, in Hz")
            outcomes, files = [], [f"ECG {number}" for number in range(len(X))]
            for recording in X:
                try:
                    outcomes.append(best_window(recording, self.sampling_frequency, settings))
                except Refusal as fault:
                    outcomes.append(fault)
        for file, outcome in zip(files, outcomes, strict=True):
            if isinstance(outcome, Refusal):
                raise ValueError(f"{file} is refused: {outcome.reason}, {outcome.detail}")
        return stack_signals(outcomes)

    def __sklearn_tags__(self) -> Any:
        tags = _takes_ecgs(super().__sklearn_tags__())
        tags.requires_fit = True
        return tags


class EchoFindingClassifier(ClassifierMixin, BaseEstimator):
    """Answers a yes/no question about the echo from the ECG: logistic regression on a student's frozen features.

    Its probabilities are calibrated no better than those of any logistic regression, and it refers no ECG: `EcgModel`
    does.

    Args:
        embedder: makes the features; None for those of the trunk of the student `production`.
        C: inverse strength of the L2 penalty.
    """

    def __init__(self, embedder: ECGEmbedder | None = None, C: float = 0.1) -> None:
        self.embedder = embedder
        self.C = C

    def fit(self, X: Ecgs, y: Sequence[Any] | np.ndarray) -> Self:
        """Learns from n ECGs, see `ECGEmbedder.transform`, and their labels, (n,)."""
        embedder = ECGEmbedder(features="trunk") if self.embedder is None else clone(self.embedder)
        probe = LogisticRegression(C=self.C, class_weight="balanced", max_iter=2000)
        self.pipeline_: Pipeline = make_pipeline(embedder, StandardScaler(), probe).fit(X, y)
        self.classes_: np.ndarray = self.pipeline_.classes_
        return self

    def predict_proba(self, X: Ecgs) -> np.ndarray:
        """Probability of each of `classes_`, (n, classes)."""
        check_is_fitted(self, "pipeline_")
        return np.asarray(self.pipeline_.predict_proba(X))

    def predict(self, X: Ecgs) -> np.ndarray:
        """The likeliest class of each ECG, (n,)."""
        check_is_fitted(self, "pipeline_")
        return np.asarray(self.pipeline_.predict(X))

    def __sklearn_tags__(self) -> Any:
        return _takes_ecgs(super().__sklearn_tags__())


def _takes_ecgs(tags: Any) -> Any:
    """scikit-learn's tags of what takes recordings or names of files, no tables of numbers."""
    tags.input_tags.two_d_array, tags.input_tags.three_d_array, tags.input_tags.string = False, True, True
    tags.no_validation = True
    return tags
