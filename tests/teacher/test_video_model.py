"""A teacher from another library: torchvision's video networks, with weights from a file."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torchvision.models.video import mc3_18

from echoingecg.common import UserError
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.networks.kind import load_teacher, teacher_identity

MODEL = "torchvision:mc3_18"


def random_network() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        return mc3_18().eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "weights.safetensors"
    save_file(random_network().state_dict(), path)
    return path


def test_a_vector_is_what_stands_before_the_class_scores(weights: Path) -> None:
    settings = TeacherSettings(model=MODEL, weights=str(weights), image_size=32, window_frames=4)
    teacher = load_teacher(settings, "cpu")
    assert (teacher.dim, teacher.image_size) == (512, 32)
    frames = np.random.default_rng(8).integers(0, 256, (10, 32, 32, 3)).astype(np.uint8)
    network = random_network()
    network.fc = torch.nn.Identity()
    windows = torch.from_numpy(np.stack([frames[at : at + 4] for at in (0, 3, 6)]))
    images = (windows / 255 - torch.tensor([0.43216, 0.394666, 0.37645])) / torch.tensor([0.22803, 0.22145, 0.216989])
    with torch.inference_mode():
        expected = F.normalize(network(images.permute(0, 4, 1, 2, 3)), dim=-1).numpy()
    np.testing.assert_allclose(teacher.forward(torch.from_numpy(teacher.inputs(frames))).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(teacher.embed(frames), expected, atol=3e-4)


def test_its_own_frame_size_is_torchvisions(weights: Path) -> None:
    teacher = load_teacher(TeacherSettings(model=MODEL, weights=str(weights), window_frames=2), "cpu")
    assert teacher.image_size == 112


def test_text_is_one_line(weights: Path) -> None:
    settings = TeacherSettings(model=MODEL, weights=str(weights), image_size=32, window_frames=2)
    with pytest.raises(UserError, match="has no text tower: prompts need an open_clip model"):
        load_teacher(settings, "cpu").embed_text(["LVEF is 35 %."])


def test_identity_is_name_and_bytes(weights: Path, tmp_path: Path) -> None:
    found = teacher_identity(TeacherSettings(model=MODEL, weights=str(weights)))
    moved = tmp_path / "elsewhere.safetensors"
    moved.write_bytes(weights.read_bytes())
    assert found == teacher_identity(TeacherSettings(model=MODEL, weights=str(moved)))
    assert found["model"] == MODEL


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("torchvision:resnet18", "torchvision's video networks are mc3_18, mvit_v1_b"),
        ("torchvision:s3d", "cannot be loaded: RuntimeError"),
    ],
)
def test_what_cannot_be_is_one_line(model: str, says: str, weights: Path) -> None:
    with pytest.raises(UserError, match=says) as caught:
        load_teacher(TeacherSettings(model=model, weights=str(weights)), "cpu")
    assert "\n" not in str(caught.value)


def test_a_video_network_needs_weights() -> None:
    with pytest.raises(UserError, match="random ones are refused"):
        load_teacher(TeacherSettings(model=MODEL), "cpu")
