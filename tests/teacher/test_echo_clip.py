"""ECHO-CLIP's published example, step by step, on random weights of its exact architecture (600 MB: slow)."""

from pathlib import Path

import cv2
import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from torchvision import transforms

from echoingecg.common.prompt_ranking import best_median, values_by_rank
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.decode import decode_frames, read_header
from echoingecg.teacher.frames import read_clip
from echoingecg.teacher.networks.kind import load_teacher, teacher_identity
from echoingecg.teacher.networks.open_clip import CONFIG, WEIGHTS
from echoingecg.teacher.regions import teacher_region
from helpers.echo.echo_clip_folder import write_folder

PUBLISHED = {
    "mask": False,
    "region": "first",
    "stale_region": "rescale",  # of pydicom's reduced clip
    "crop": "centre",
    "channels": "bgr",
    "frame_stride": 2,
    "max_frames": 20,
    "frames_from": "start",
}
PACEMAKER = ["Catheter, pacer lead or ICD lead in the right ventricle.", "Pacer lead in the right atrium."]
EJECTION = "LV EJECTION FRACTION IS {}%. "


@pytest.mark.parametrize(("fraction", "expected"), [(101, 20), (202, 40), (9, 1), (3, 1), (14, 2)])
def test_the_best_fifth_is_rounded_down_and_its_median_the_lower(fraction: int, expected: int) -> None:
    ranked = np.random.default_rng(fraction).normal(size=(5, fraction))
    assert expected == max(int(fraction * 0.2), 1)
    published = torch.from_numpy(ranked)[:, :expected].median(dim=-1)[0].numpy()
    np.testing.assert_array_equal(best_median(ranked), published)


@pytest.mark.slow
def test_the_published_example(tmp_path: Path, shipped_clip: Path) -> None:
    model, prepare = write_folder(tmp_path)
    settings = TeacherSettings(model=f"local-dir:{tmp_path}", **PUBLISHED)
    teacher = load_teacher(settings, "cpu")
    clip = read_header(shipped_clip)
    box = teacher_region(clip, settings)
    pictures = [cropped(frame[box])[..., ::-1] for frame in decode_frames(clip, list(range(clip.frames)))]
    images = torch.stack([prepare(transforms.ToPILImage()(picture.copy())) for picture in pictures])
    prompts = [EJECTION.format(value) for value in range(101)]
    tokenize = open_clip.get_tokenizer("convnext_base")
    with torch.inference_mode():
        video = F.normalize(model.encode_image(images[: min(40, len(images)) : 2]), dim=-1)
        words = F.normalize(model.encode_text(tokenize([*PACEMAKER, *prompts])), dim=-1)
    frames = teacher.forward(torch.from_numpy(read_clip(shipped_clip, settings, teacher.image_size)))
    text = teacher.embed_text([*PACEMAKER, *prompts])
    np.testing.assert_allclose(frames.numpy(), video.numpy(), atol=1e-4)
    np.testing.assert_allclose(text, words.numpy(), atol=1e-4)
    score = (video @ words[:2].T).mean()
    assert float((frames.numpy() @ text[:2].T).mean()) == pytest.approx(float(score), abs=1e-4)
    values = torch.arange(101.0)
    ranked = values[torch.argsort(video @ words[2:].T, dim=-1, descending=True)].mean(dim=0)
    number = best_median(values_by_rank(video.numpy(), words[2:].numpy(), values.numpy()).mean(axis=0))
    assert float(number) == pytest.approx(float(ranked[:20].median()), abs=1e-4)
    named = TeacherSettings(model="convnext_base", weights=str(tmp_path / WEIGHTS[0]))
    assert teacher_identity(settings) == teacher_identity(named), "equal however it is named"
    assert (tmp_path / CONFIG).is_file()


def cropped(frame: np.ndarray) -> np.ndarray:
    """The central square less a tenth at each edge, 224 x 224 px, by cubic interpolation."""
    height, width = frame.shape[:2]
    less = round(abs(width - height) / 2)
    frame = frame[:, less : width - less] if width > height else frame[less : height - less]
    x, y = round(int(frame.shape[1] * 0.1)), round(int(frame.shape[0] * 0.1))
    return cv2.resize(frame[y:-y, x:-x], (224, 224), interpolation=cv2.INTER_CUBIC)


def test_words_of_another_vocabulary_are_not_read(tmp_path: Path) -> None:
    """ECHO-CLIP-R's tower knows report templates: open_clip's tokenizer would give it other words."""
    write_folder(tmp_path, small=True, words=600)
    teacher = load_teacher(TeacherSettings(model=f"local-dir:{tmp_path}"), "cpu")
    assert not teacher.has_text_tower
    write_folder(tmp_path, small=True)
    assert load_teacher(TeacherSettings(model=f"local-dir:{tmp_path}"), "cpu").has_text_tower
