"""Teaching the demo teacher: what it is shown, what it learns, what is written."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from echoingecg.common import TrainingError
from echoingecg.recipe import ExecutionSettings, Recipe, TeacherSettings, TeachingSettings
from echoingecg.teacher.demo_training.evaluate_and_save import CARD, evaluate, save_card, save_teacher
from echoingecg.teacher.demo_training.examples import Examples, split_sentences
from echoingecg.teacher.demo_training.train import frame_edge, train_teacher
from echoingecg.teacher.networks.kind import load_teacher
from echoingecg.teacher.networks.open_clip import CONFIG, WEIGHTS, demo_config

SMALL = Recipe(
    teaching=TeachingSettings(steps=40, batch_size=16, small_size=32, learning_rate=2e-3),
    execution=ExecutionSettings(threads=1),
)


def small_config() -> dict:
    config = demo_config()
    config["model_cfg"]["vision_cfg"]["image_size"] = 32
    config["model_cfg"]["text_cfg"] |= {"width": 16, "heads": 2, "layers": 1, "context_length": 16}
    return config


def bars(studies: int, seed: int) -> Examples:
    """Each study shows a bright bar as high as the LVEF that its report states; two frames of 32 px."""
    random = np.random.default_rng(seed)
    lvef = random.choice((20, 40, 60), studies)
    clips = {}
    for study, value in enumerate(lvef):
        clip = random.integers(0, 40, (2, 32, 32, 3), dtype=np.uint8)
        clip[:, : value // 2] += 180
        clips[f"study{study:03d}"] = [clip]
    return Examples.join(
        clips,
        {study: f"LV ejection fraction is {value} %." for study, value in zip(clips, lvef, strict=True)},
        dict(zip(clips, map(float, lvef), strict=True)),
        {study: f"patient of {study}" for study in clips},
    )


def test_a_report_falls_into_its_sentences() -> None:
    report = "Severely reduced systolic function. LVEF is 25 %. Septal wall 11.5 mm."
    assert split_sentences(report) == ("Severely reduced systolic function.", "LVEF is 25 %.", "Septal wall 11.5 mm.")
    assert " ".join(split_sentences(report)) == report
    assert split_sentences("No full stop") == ("No full stop.",)


def test_examples_hold_what_belongs_together() -> None:
    def clip(grey: int, frames: int) -> np.ndarray:
        return np.full((frames, 4, 4, 3), grey, np.uint8)

    made = Examples.join(
        {"b": [clip(1, 2), clip(2, 3)], "a": [clip(3, 1)], "without report": [clip(9, 4)]},
        {"a": "One. Two.", "b": "Three.", "without clip": "Four."},
        {"a": 35.0},
        {"a": "p", "b": "q", "without report": "r"},
    )
    assert len(made) == 2
    assert made.patient.tolist() == ["p", "q"]
    assert made.frames[0].max() == 3
    assert made.frames[1][:, 0, 0, 0].tolist() == [1, 1, 2, 2, 2]
    assert made.sentences == (("One.", "Two."), ("Three.",))
    assert made.lvef[0] == 35.0
    assert np.isnan(made.lvef[1])
    random = np.random.default_rng(0)
    drawn = np.stack(made.draw_frames(np.array([1] * 50 + [0]), random))[:, 0, 0, 0]
    assert set(drawn[:50].tolist()) == {1, 2}
    assert drawn[50] == 3
    assert {made.draw_text(0, random) for _ in range(50)} == {"One.", "Two.", "One. Two."}
    turned = made.select([1, 0])
    assert turned.frames[1].max() == 3
    assert turned.sentences == made.sentences[::-1]


def test_frames_grow_while_it_learns() -> None:
    settings = TeachingSettings(steps=100, growing_share=0.7, small_size=56)
    edges = [frame_edge(settings, step, 112) for step in range(100)]
    assert edges[0] == 56
    assert edges == sorted(edges)
    assert all(edge % 8 == 0 for edge in edges)
    assert edges[69] < 112
    assert set(edges[70:]) == {112}
    whole = TeachingSettings(steps=100, growing_share=0.0)
    assert {frame_edge(whole, step, 112) for step in range(100)} == {112}


def test_it_learns_what_its_sentences_say(tmp_path: Path) -> None:
    config, examples = small_config(), bars(64, 1)
    model = train_teacher(examples, config, SMALL, "cpu")
    save_teacher(tmp_path, model, config)
    taught = load_teacher(TeacherSettings(model=f"local-dir:{tmp_path}"), "cpu")
    unseen = bars(24, 2)
    evaluation = evaluate(taught, unseen)
    assert evaluation.studies == 24
    assert evaluation.correlation > 0.9
    assert evaluation.auroc_40 > 0.95
    assert evaluation.mae < evaluation.plain_mae
    save_card(tmp_path, model, config, SMALL, examples, evaluation)
    card = (tmp_path / CARD).read_text()
    assert "Not for patients" in card
    assert "64 simulated studies, 128 frames" in card
    assert f"{evaluation.mae:.1f} points" in card
    assert json.loads((tmp_path / "judgement.json").read_text())["studies"] == 24
    assert {str(one.dtype) for one in load_file(tmp_path / WEIGHTS[0]).values()} == {"torch.float16"}
    assert json.loads((tmp_path / CONFIG).read_text()) == config


def test_the_same_call_gives_the_same_bytes() -> None:
    def weights(**change: int) -> dict:
        assert SMALL.teaching
        recipe = SMALL.model_copy(update={"teaching": SMALL.teaching.model_copy(update={"steps": 4, **change})})
        return train_teacher(bars(20, 1), small_config(), recipe, "cpu").state_dict()

    first, again, other = weights(), weights(), weights(seed=44)
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_too_few_studies_and_a_loss_that_explodes_are_one_line() -> None:
    with pytest.raises(TrainingError, match="only 10 studies"):
        train_teacher(bars(10, 1), small_config(), SMALL, "cpu")
    config = small_config()
    config["preprocess_cfg"]["std"] = [0.0, 1.0, 1.0]
    with pytest.raises(TrainingError, match="the loss is nan at step 1"):
        train_teacher(bars(20, 1), config, SMALL, "cpu")
