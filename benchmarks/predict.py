"""ECG files to endpoints: `echoingecg predict` on a folder against one file at a time.

The plain route: for each file `process` (read, decode, filter, judge), a forward pass of the student by itself and its
scores; one process, torch with all cores. Ours is what the command runs: files in blocks on two threads, a forward pass
for 64 together, intervals, percentiles and advice, checked tables, a Parquet file. The student has the demo's size and
was trained on nothing: what its weights are does not change what they cost.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.ecg_export import write_export
from benchmarks.measure import Row, at_least, at_most, below, in_fresh_process, once, peak_mb
from data_contracts.conventions import LEADS, SAMPLES
from data_contracts.manifest import Manifest
from data_contracts.prediction import Calibration, Predictive, Reading, ReadingCard, Referral
from data_contracts.student import HISTORY
from echoingecg.ecg.process import process
from echoingecg.evaluation.data.models import LinearScore
from echoingecg.evaluation.data.names import EXPECTED_ECHO
from echoingecg.evaluation.decision.predictive import PredictiveDistribution
from echoingecg.evaluation.decision.reading_card import LoadedReading, LoadedReadingCard
from echoingecg.evaluation.decision.typicality import fit_typicality
from echoingecg.prediction.files import list_ecgs, write_predicted
from echoingecg.recipe import EcgSettings
from echoingecg.student.data.transforms import Scaler
from echoingecg.student.loss import Objective
from echoingecg.student.model.student import Student
from echoingecg.student.model.text_encoder import text_tower
from echoingecg.student.store import load, save
from echoingecg.student.train import TrainedStudent
from flows.request import find_recipe
from tasks.operations.students import StudentWithCard, predict_files
from tasks.store import Artefact

FEW, MANY = 1_000, 10_000
ENDPOINTS = 3


def make_student(root: Path) -> None:
    """A student of the demo's size, and a card with as many endpoints as the demo's."""
    settings = find_recipe("demo", []).student
    tower = text_tower(settings.model, ["a text"])
    objective = Objective(Student(settings.model, tower.backbone), settings).eval()
    scaler = Scaler(np.zeros(len(LEADS)), np.ones(len(LEADS)))
    for name in ("student", "evaluation"):
        (root / name).mkdir()
    save(TrainedStudent(settings, objective, tower.tokenizer, scaler, HISTORY.build([]), 1, 0), root / "student")
    random = np.random.default_rng(0)
    student = load(root / "student")
    noise = random.normal(0, 0.3, (256, len(LEADS), SAMPLES)).astype(np.float32)
    features = student.embed_ecg_with_features(noise)[2]
    typicality = fit_typicality(features[:128], 2 * features[:128], features[128:], 0.95)
    assert typicality is not None
    scalars = Predictive(
        slope=1, intercept=0, log_variance=0, log_variance_slope=1, log_variance_bias=0, typical_distance=2
    )  # fmt: skip
    weights = random.normal(size=(2, features.shape[1])) / 100
    predictive = PredictiveDistribution(scalars, weights[0], weights[1])
    points = tuple(np.linspace(0, 1, 50).tolist())
    readings = []
    for number in range(ENDPOINTS):
        reading = Reading(
            endpoint=str(number),
            question="?",
            protocol=EXPECTED_ECHO,
            threshold_says="",
            calibration=Calibration(method="isotonic", score=points, probability=points, says=""),
            referral=Referral(kind="conformal", threshold=0.5, one_from=-0.5, zero_to=0.5, says=""),
            predictive=scalars,
        )
        line = LinearScore(random.normal(size=settings.model.embed_dim), 0.0)
        readings.append(LoadedReading(reading, line, predictive, np.linspace(0.1, 4, 500)))
    card = ReadingCard(
        student="",
        ecg=EcgSettings().model_dump(mode="json"),
        readings=tuple(entry.reading for entry in readings),
        answered_by=EXPECTED_ECHO,
        typical=typicality.limits,
        nested=(tuple(entry.reading.endpoint for entry in readings),),
    )
    distances = np.sort(typicality.distance(features))
    LoadedReadingCard(card, tuple(readings), typicality, distances).save(root / "evaluation")


def judged(root: Path) -> StudentWithCard:
    folders = [Artefact(root / name, Manifest.model_construct(version="")) for name in ("student", "evaluation")]
    return StudentWithCard(*folders)


def ours(root: Path, files: list[str]) -> int:
    """Rows written."""
    blocks = write_predicted(predict_files(judged(root), files), root / "readings.parquet", False)
    return sum(block.readings.num_rows for block in blocks)


def plain(root: Path, files: list[str]) -> None:
    reader = judged(root).reader()
    for file in files:
        mean, _ = reader.student.embed_ecg(process(Path(file), reader.settings).signal[None])
        for entry in reader.card.readings:
            entry.score.scores(mean)


def peak(root: str, count: int) -> float:
    """Peak resident MB of a process that reads `count` files."""
    ours(Path(root), list_ecgs([f"{root}/export/mimic-iv-ecg/files"])[:count])
    return peak_mb()


def rows() -> Iterator[Row]:
    """Everything is read from the page cache; the student is open and the filter's matrices are made."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_student(root)
        write_export(root / "export", MANY)
        files = list_ecgs([f"{root}/export/mimic-iv-ecg/files"])
        assert len(files) == MANY
        # The plain route first: ours leaves torch with one thread.
        plain(root, files[:10])
        alone = once(partial(plain, root, files[:FEW]))
        ours(root, files[:10])
        work = f"{ENDPOINTS} endpoints of WFDB files (500 Hz, 10 s), the demo's student"
        together = once(partial(ours, root, files[:FEW]))
        yield Row(f"{work}: {FEW} files", "process + forward, a file at a time", alone, together, at_least(2))
        rate = MANY / once(partial(ours, root, files))
        yield Row(f"{work}: {MANY} files, an ECG", "", None, 1000 / rate, below(2), "ms")
        few, many = (in_fresh_process("predict", "peak", folder, count) for count in (FEW, MANY))
        yield Row(f"{work}: peak memory at {MANY} files", f"{FEW} files", few, many, at_most(1.2), "MB")
