"""The teacher: embeddings, every way to name one, and the errors a user sees."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from echoingecg.common import UserError
from echoingecg.recipe import TeacherSettings, read_recipe
from echoingecg.teacher.demo_training.evaluate_and_save import CARD, EVALUATION, RECIPE
from echoingecg.teacher.frames import read_clip
from echoingecg.teacher.networks.frozen import FrozenTeacher
from echoingecg.teacher.networks.kind import load_teacher, teacher_identity
from echoingecg.teacher.networks.open_clip import CONFIG, DEMO_FOLDER, WEIGHTS, demo_config
from flows.request import find_recipe
from helpers.paths import Recording

# The smallest of open_clip's own architectures would be 100 MB; this one is registered from a file.
SMALL = "small-for-tests"


@pytest.fixture(scope="module", autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(min(2, before))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def demo() -> FrozenTeacher:
    return load_teacher(TeacherSettings(), "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip folder as it comes from the hub: configuration and safetensors."""
    config = demo_config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = open_clip.CLIP(**config["model_cfg"])
    target = tmp_path_factory.mktemp("teacher")
    (target / CONFIG).write_text(json.dumps(config))
    save_file(model.state_dict(), target / WEIGHTS[0])
    return target


@pytest.fixture(scope="module")
def local(folder: Path) -> FrozenTeacher:
    return load_teacher(TeacherSettings(model=f"local-dir:{folder}"), "cpu")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Noise, each frame brighter than the one before."""
    brightest = np.arange(64, 257, 32).reshape(7, 1, 1, 1)
    return np.random.default_rng(3).integers(0, brightest, (7, 112, 112, 3)).astype(np.uint8)


def test_demo_embeds_a_real_clip(demo: FrozenTeacher, shipped_clip: Path) -> None:
    embeddings = demo.embed(
        read_clip(shipped_clip, TeacherSettings(max_frames=8, stale_region="rescale"), demo.image_size)
    )
    assert (embeddings.shape, embeddings.dtype) == ((8, demo.dim), np.float16)
    np.testing.assert_allclose(np.linalg.norm(embeddings.astype(float), axis=1), 1, atol=1e-3)
    assert (demo.dim, demo.image_size) == (128, 112)


def test_demo_tells_different_views_apart(demo: FrozenTeacher, shipped_clip: Path, recording: Recording) -> None:
    others = [recording(f"echo_dicom/go-dicom/{name}.dcm") for name in ("I_000007", "I_000027")]
    paths, settings = [shipped_clip, *others], TeacherSettings(max_frames=4, stale_region="rescale")
    clips = [demo.embed(read_clip(path, settings, demo.image_size)).astype(float) for path in paths]
    within = np.mean([clip @ clip.T for clip in clips])
    between = np.mean([clips[i] @ clips[j].T for i in range(3) for j in range(i)])
    assert between < 0.95
    assert between < within - 0.02


def test_loading_leaves_global_seeds_alone(demo: FrozenTeacher, frames: np.ndarray) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    again = load_teacher(TeacherSettings(), "cpu")
    assert torch.equal(torch.rand(3), expected)
    np.testing.assert_array_equal(again.embed(frames), demo.embed(frames))


def test_sentences_lie_in_the_space_of_the_frames(folder: Path, local: FrozenTeacher) -> None:
    sentences = ["LV ejection fraction is 35 %.", "The left ventricle is dilated.", "word " * 200]
    found = local.embed_text(sentences)
    assert (found.shape, found.dtype) == ((3, local.dim), np.float32)
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(sentences)
    with torch.inference_mode():
        expected = model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    one_by_one = load_teacher(TeacherSettings(model=f"local-dir:{folder}", batch_frames=1), "cpu")
    np.testing.assert_allclose(one_by_one.embed_text(sentences), found, atol=1e-5)


def test_half_precision_frames_and_full_precision_sentences(folder: Path, local: FrozenTeacher) -> None:
    rough = load_teacher(TeacherSettings(model=f"local-dir:{folder}", precision="bfloat16"), "cpu")
    np.testing.assert_array_equal(rough.embed_text(["LVEF is 35 %."]), local.embed_text(["LVEF is 35 %."]))


def test_a_local_folder_gives_what_open_clip_gives(folder: Path, local: FrozenTeacher, frames: np.ndarray) -> None:
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    config = demo_config()["preprocess_cfg"]
    images = (torch.from_numpy(frames).double() / 255 - torch.tensor(config["mean"])) / torch.tensor(config["std"])
    with torch.inference_mode():
        expected = model.encode_image(images.permute(0, 3, 1, 2).float(), normalize=True).numpy()
    np.testing.assert_allclose(local.embed(frames), expected, atol=1e-3)


def test_a_weights_file_serves_a_named_architecture(folder: Path, frames: np.ndarray, tmp_path: Path) -> None:
    """A name brings CLIP's own mean and deviation, a folder may state others."""
    plain = tmp_path / "folder"
    plain.mkdir()
    clip = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    (plain / CONFIG).write_text(json.dumps(demo_config() | {"preprocess_cfg": clip}))
    (plain / WEIGHTS[0]).symlink_to(folder / WEIGHTS[0])
    local = load_teacher(TeacherSettings(model=f"local-dir:{plain}"), "cpu")
    (tmp_path / f"{SMALL}.json").write_text(json.dumps(demo_config()["model_cfg"]))
    open_clip.add_model_config(tmp_path)
    state = load_file(folder / WEIGHTS[0])
    torch.save(state, tmp_path / "weights.pt")
    named = [TeacherSettings(model=SMALL, weights=str(path)) for path in (folder / WEIGHTS[0], tmp_path / "weights.pt")]
    first = teacher_identity(named[0])
    assert first == teacher_identity(TeacherSettings(model=f"local-dir:{plain}")) | {"config": first["config"]}
    for settings in named:
        np.testing.assert_allclose(load_teacher(settings, "cpu").embed(frames), local.embed(frames), atol=1e-3)
    torch.save({"visual.trunk.stem.0.weight": state["visual.trunk.stem.0.weight"]}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_teacher(named[1], "cpu")


def test_weights_that_run_code_are_refused(tmp_path: Path) -> None:
    (tmp_path / f"{SMALL}.json").write_text(json.dumps(demo_config()["model_cfg"]))
    open_clip.add_model_config(tmp_path)
    torch.save({"state_dict": Path("/")}, tmp_path / "weights.pt")  # pickled class, not a tensor
    with pytest.raises(UserError, match="cannot be loaded: UnpicklingError"):
        load_teacher(TeacherSettings(model=SMALL, weights=str(tmp_path / "weights.pt")), "cpu")


def test_another_image_size_can_be_asked_for(folder: Path) -> None:
    for model in ("demo", f"local-dir:{folder}"):
        teacher = load_teacher(TeacherSettings(model=model, image_size=64), "cpu")
        assert teacher.image_size == 64
        assert teacher.embed(np.zeros((2, 64, 64, 3), np.uint8)).shape == (2, 128)


def test_weights_that_are_not_finite_are_reported(folder: Path, tmp_path: Path) -> None:
    state = load_file(folder / WEIGHTS[0])
    state["visual.head.proj.weight"].fill_(float("nan"))
    save_file(state, tmp_path / WEIGHTS[0])
    (tmp_path / CONFIG).write_text((folder / CONFIG).read_text())
    with pytest.raises(UserError, match="not finite"):
        load_teacher(TeacherSettings(model=f"local-dir:{tmp_path}"), "cpu").embed(np.zeros((2, 112, 112, 3), np.uint8))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "ViT-B-32"}, "random ones are refused"),
        ({"model": "ViT-B-32", "weights": "/nowhere/w.safetensors"}, "no such file"),
        ({"model": "local-dir:/nowhere"}, "the folder needs open_clip_config.json"),
        ({"model": "s3:bucket"}, "unknown schema 's3'"),
        ({"model": "hf-hub:owner/name", "weights": "w.pt"}, "brings its own weights"),
        ({"model": "hf-hub:owner/name/more"}, "write hf-hub:owner/name"),
    ],
)
def test_a_teacher_without_weights_is_one_line(fields: dict[str, str], says: str) -> None:
    settings = TeacherSettings(**fields)
    for ask in (teacher_identity, lambda one: load_teacher(one, "cpu")):
        with pytest.raises(UserError, match=says) as caught:
            ask(settings)
        assert "\n" not in str(caught.value)


def test_an_unknown_architecture_is_one_line(folder: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        load_teacher(TeacherSettings(model="NoSuchNet", weights=str(folder / WEIGHTS[0])), "cpu")
    assert "\n" not in str(caught.value)


def test_the_hub_without_network_says_how_to_bring_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    says = r"'hf download owner/name --local-dir FOLDER', bring FOLDER here, and set teacher\.model to local-dir:FOLDER"
    with pytest.raises(UserError, match=says) as caught:
        teacher_identity(TeacherSettings(model="hf-hub:owner/name"))
    assert "\n" not in str(caught.value)


def test_the_hub_cache_needs_no_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path, local: FrozenTeacher, frames: np.ndarray
) -> None:
    cache = tmp_path / "models--owner--name"
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123")
    for name in (CONFIG, WEIGHTS[0]):
        (snapshot / name).symlink_to(folder / name)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    settings = TeacherSettings(model="hf-hub:owner/name")
    np.testing.assert_array_equal(load_teacher(settings, "cpu").embed(frames), local.embed(frames))
    assert teacher_identity(settings) == teacher_identity(TeacherSettings(model=f"local-dir:{folder}"))
    pinned, newer = "a" * 40, cache / "snapshots" / ("b" * 40)
    snapshot.rename(cache / "snapshots" / pinned)
    newer.mkdir()
    for name in (CONFIG, WEIGHTS[0]):
        (newer / name).write_text("of a later commit")
    (cache / "refs" / "main").write_text("b" * 40)
    at_commit = TeacherSettings(model=f"hf-hub:owner/name@{pinned}")
    assert teacher_identity(at_commit) == teacher_identity(TeacherSettings(model=f"local-dir:{folder}"))
    with pytest.raises(UserError, match="--revision cccc"):
        teacher_identity(TeacherSettings(model=f"hf-hub:owner/name@{'c' * 40}"))
    with pytest.raises(UserError, match="is no revision"):
        teacher_identity(TeacherSettings(model="hf-hub:owner/name@../../main"))


def test_identity_follows_the_bytes_of_the_weights(folder: Path, tmp_path: Path) -> None:
    for name in (CONFIG, WEIGHTS[0]):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    copied = TeacherSettings(model=f"local-dir:{tmp_path}")
    assert teacher_identity(copied) == teacher_identity(TeacherSettings(model=f"local-dir:{folder}"))
    weights = bytearray((tmp_path / WEIGHTS[0]).read_bytes())
    weights[-1] ^= 1
    (tmp_path / WEIGHTS[0]).write_bytes(weights)
    assert teacher_identity(copied) != teacher_identity(TeacherSettings(model=f"local-dir:{folder}"))
    assert teacher_identity(TeacherSettings()) != teacher_identity(copied)


def test_identity_needs_no_torch() -> None:
    script = (
        "import sys; from echoingecg.recipe import TeacherSettings; import echoingecg.teacher.networks.kind as i; "
        "i.teacher_identity(TeacherSettings()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_demo_is_small(demo: FrozenTeacher) -> None:
    assert (DEMO_FOLDER / WEIGHTS[0]).stat().st_size < 20e6
    model = open_clip.CLIP(**demo_config()["model_cfg"])
    assert sum(weight.numel() for weight in model.visual.parameters()) < 5_000_000
    assert "Not for patients" in (DEMO_FOLDER / CARD).read_text(encoding="utf-8")


def test_the_card_says_what_the_weights_were_measured_with() -> None:
    """The folder is one whole: card, recipe and judgement come from the run that made the weights."""
    recipe = read_recipe(DEMO_FOLDER / RECIPE)
    assert recipe.teaching is not None
    assert f"{recipe.teaching.steps} steps of {recipe.teaching.batch_size} pairs" in (DEMO_FOLDER / CARD).read_text()
    judged = json.loads((DEMO_FOLDER / EVALUATION).read_text())
    assert f"{judged['mae']:.1f} points" in (DEMO_FOLDER / CARD).read_text()
    shipped = find_recipe("teacher", [])
    for section in ("simulator", "catalog", "teacher", "teaching", "execution"):  # what teaching reads
        assert getattr(recipe, section) == getattr(shipped, section)
