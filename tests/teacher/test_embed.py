"""Batches that span clips against the plain loop: one frame after another, in float32, by open_clip and timm alone."""

from collections.abc import Iterator

import numpy as np
import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.embed import Teacher, embed_clips
from echoingecg.teacher.networks.frozen import FrozenTeacher, Preprocessing
from echoingecg.teacher.networks.kind import load_teacher
from echoingecg.teacher.networks.open_clip import DEMO_FOLDER, demo_config

SIZE = 48  # px; the demo's network takes any
LENGTHS = (3, 1, 0, 11, 5, 2)


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(0, random.integers(40, 256), (n, SIZE, SIZE, 3)).astype(np.uint8) for n in LENGTHS]


@pytest.fixture(scope="module")
def teacher() -> FrozenTeacher:
    return load_teacher(TeacherSettings(image_size=SIZE, batch_frames=4), "cpu")


@pytest.fixture(scope="module")
def expected(clips: list[np.ndarray]) -> np.ndarray:
    """float32 (frame, dim) of all clips."""
    model = open_clip.create_model(f"local-dir:{DEMO_FOLDER}", force_image_size=SIZE).eval()
    wanted = demo_config()["preprocess_cfg"]
    return frame_by_frame(model.visual, np.concatenate(clips), wanted["mean"], wanted["std"])


def frame_by_frame(network: torch.nn.Module, frames: np.ndarray, mean: list[float], std: list[float]) -> np.ndarray:
    images = (torch.from_numpy(frames).double() / 255 - torch.tensor(mean)) / torch.tensor(std)
    with torch.inference_mode():
        return torch.cat([F.normalize(network(one.permute(2, 0, 1)[None].float()), dim=-1) for one in images]).numpy()


def forwarded(teacher: Teacher, frames: np.ndarray) -> np.ndarray:
    """float32 (frame, dim), before the store rounds it."""
    return torch.cat([teacher.forward(part) for part in torch.from_numpy(frames).split(teacher.batch)]).numpy()


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return F.cosine_similarity(torch.from_numpy(one).double(), torch.from_numpy(other).double()).numpy()


def test_float32_is_the_frame_by_frame_loop(
    teacher: FrozenTeacher, clips: list[np.ndarray], expected: np.ndarray
) -> None:
    np.testing.assert_allclose(forwarded(teacher, np.concatenate(clips)), expected, atol=1e-5)
    found = dict(embed_clips(enumerate(clips), [teacher]))
    assert list(found) == list(range(len(clips)))
    assert tuple(len(one) for one in found.values()) == LENGTHS
    np.testing.assert_allclose(np.concatenate(list(found.values())), expected, atol=3e-4)  # float16 near 0.5
    assert cosines(np.concatenate(list(found.values())), expected).min() > 0.999999


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_keeps_the_direction(precision: str, clips: list[np.ndarray], expected: np.ndarray) -> None:
    rough = load_teacher(TeacherSettings(image_size=SIZE, batch_frames=11, precision=precision), "cpu")
    found = forwarded(rough, np.concatenate(clips))
    assert cosines(found, expected).min() >= 0.999
    assert not np.array_equal(found, expected)


def test_no_bit_depends_on_the_company(teacher: FrozenTeacher, clips: list[np.ndarray]) -> None:
    """Float32 on a CPU: order, neighbours, place in the batch and the number of replicas are all one."""
    usual = dict(embed_clips(enumerate(clips), [teacher]))
    backwards = dict(embed_clips(reversed(list(enumerate(clips))), [teacher]))
    replicas = dict(embed_clips(enumerate(clips), [teacher, load_teacher(
        TeacherSettings(image_size=SIZE, batch_frames=4), "cpu")]))  # fmt: skip
    for name, clip in enumerate(clips):
        alone = next(embed_clips([(name, clip)], [teacher]))[1]
        for other in (backwards[name], replicas[name], alone):
            np.testing.assert_array_equal(other, usual[name])


def test_another_batch_size_changes_roundings_alone(clips: list[np.ndarray], expected: np.ndarray) -> None:
    for size in (1, 7, 64):
        other = load_teacher(TeacherSettings(image_size=SIZE, batch_frames=size), "cpu")
        np.testing.assert_allclose(forwarded(other, np.concatenate(clips)), expected, atol=1e-5)


def test_nothing_but_clips_without_frames(teacher: FrozenTeacher) -> None:
    nothing = np.empty((0, SIZE, SIZE, 3), np.uint8)
    assert [(name, one.shape) for name, one in embed_clips([("a", nothing), ("b", nothing)], [teacher])] == [
        ("a", (0, teacher.dim)),
        ("b", (0, teacher.dim)),
    ]
    assert list(embed_clips([], [teacher])) == []


def test_clips_are_read_ahead_but_not_far(teacher: FrozenTeacher) -> None:
    taken = 0

    def endless() -> Iterator[tuple[int, np.ndarray]]:
        nonlocal taken
        while True:
            taken += 1
            yield taken, np.zeros((4, SIZE, SIZE, 3), np.uint8)

    embedded = embed_clips(endless(), [teacher])
    for _ in range(6):
        next(embedded)
    embedded.close()  # type: ignore[attr-defined]
    assert 6 < taken <= 6 + 5  # one with the model, one launched behind it, three with the thread


def test_a_fault_of_a_clip_comes_out(teacher: FrozenTeacher, clips: list[np.ndarray]) -> None:
    def broken() -> Iterator[tuple[int, np.ndarray]]:
        yield 0, clips[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(embed_clips(broken(), [teacher]))


@settings(max_examples=50)
@given(st.integers(1, 100), st.integers(2, 20))
def test_windows_see_every_frame_in_order(frames: int, window: int) -> None:
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool3d(1), torch.nn.Flatten())
    video = FrozenTeacher(network, Preprocessing(2, [0.5] * 3, [0.2] * 3, window), TeacherSettings(), "cpu", False)
    numbers = np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, 2, 2, 3))
    seen = video.inputs(numbers)[..., 0, 0, 0]
    assert seen.shape == (max(1, -(-frames // window)), window)
    assert set(seen.ravel().tolist()) == set(range(frames)) or frames < window
    if frames >= window:
        assert (np.diff(seen, axis=1) == 1).all()
    else:
        assert seen[0].tolist() == [at % frames for at in range(window)]


@pytest.mark.slow
def test_convnext_base_in_both_precisions() -> None:
    """The architecture of ECHO-CLIP's image tower, with random weights. On a CPU without bfloat16 units: a minute."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        networks = [timm.create_model("convnext_base", num_classes=512).eval() for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    frames = np.random.default_rng(4).integers(0, 256, (3, 224, 224, 3)).astype(np.uint8)
    mean, std = list(open_clip.OPENAI_DATASET_MEAN), list(open_clip.OPENAI_DATASET_STD)
    expected = frame_by_frame(networks[0], frames, mean, std)
    for network, precision in zip(networks, ("float32", "bfloat16"), strict=True):
        made = FrozenTeacher(
            network, Preprocessing(224, mean, std), TeacherSettings(precision=precision, batch_frames=3), "cpu", False
        )
        found = forwarded(made, frames)
        assert cosines(found, expected).min() >= 0.999
        if precision == "float32":
            np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_a_compiled_teacher_says_the_same(clips: list[np.ndarray], expected: np.ndarray) -> None:
    compiled = load_teacher(TeacherSettings(image_size=SIZE, batch_frames=11), "cpu", compiled=True)
    np.testing.assert_allclose(forwarded(compiled, np.concatenate(clips)), expected, atol=1e-5)
