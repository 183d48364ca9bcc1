"""Published teachers: each network against its published definition, written once more and slowly."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torchvision.models import convnext_tiny
from torchvision.models.video import mvit_v2_s
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertTokenizerFast,
    VideoMAEConfig,
    VideoMAEModel,
    ViTConfig,
    ViTModel,
)

from echoingecg.common import UserError
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.decode import decode_frames, read_header
from echoingecg.teacher.frames import read_clip
from echoingecg.teacher.networks.frozen import FrozenTeacher, Preprocessing
from echoingecg.teacher.networks.kind import load_teacher, teacher_identity
from echoingecg.teacher.regions import teacher_region

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "left", "ventricle", "is", "dilated", "."]
SENTENCES = ["The left ventricle is dilated.", "The ventricle"]


def frames_of(count: int, edge: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, edge, edge, 3)).astype(np.uint8)


def small_bert() -> BertConfig:
    return BertConfig(
        vocab_size=len(WORDS), hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=256,
        max_position_embeddings=512,
    )  # fmt: skip


def unit(vectors: torch.Tensor) -> np.ndarray:
    return F.normalize(vectors.detach().float(), dim=-1).numpy()


def vectors(teacher: FrozenTeacher, frames: np.ndarray) -> np.ndarray:
    return teacher.forward(torch.from_numpy(teacher.inputs(frames))).numpy()


# EchoPrime


@pytest.fixture(scope="module")
def echo_prime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the published layout; the text encoder is a small BERT."""
    folder = tmp_path_factory.mktemp("echo-prime")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        torch.save(published_video_encoder().state_dict(), folder / "echo_prime_encoder.pt")
        bert = BertForMaskedLM(small_bert())
        text = {f"backbone.{key}": value for key, value in bert.state_dict().items()}
        text |= {"text_projection.weight": torch.randn(512, 128), "text_projection.bias": torch.randn(512)}
    torch.save(text, folder / "echo_prime_text_encoder.pt")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


def published_video_encoder() -> nn.Module:
    network = mvit_v2_s()
    network.head[-1] = nn.Linear(network.head[-1].in_features, 512)
    return network.eval()


@pytest.fixture(scope="module")
def prime(echo_prime: Path) -> FrozenTeacher:
    return load_teacher(TeacherSettings(model=f"echo-prime:{echo_prime}", windows="first"), "cpu")


@pytest.mark.parametrize("count", [21, pytest.param(40, marks=pytest.mark.slow)])
def test_echo_prime_sees_every_second_of_32_frames(count: int, echo_prime: Path, prime: FrozenTeacher) -> None:
    frames = frames_of(count, 224)
    network = published_video_encoder()
    network.load_state_dict(torch.load(echo_prime / "echo_prime_encoder.pt"))
    clip = torch.from_numpy(frames).float().permute(3, 0, 1, 2)
    clip = (clip - torch.tensor([29.110628, 28.076836, 29.096405]).view(3, 1, 1, 1)) / torch.tensor(
        [47.989223, 46.456997, 47.20083]
    ).view(3, 1, 1, 1)
    if count < 32:
        clip = torch.cat([clip, torch.zeros(3, 32 - count, 224, 224)], dim=1)
    with torch.inference_mode():
        expected = unit(network(clip[None, :, 0:32:2]))
    np.testing.assert_allclose(vectors(prime, frames), expected, atol=1e-4)


def test_windows_cover_a_long_clip_or_are_its_first() -> None:
    frames = frames_of(70, 8)
    published = Preprocessing(8, (0.5,) * 3, (0.5,) * 3, 16, 2, "zeros")
    network = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten())
    every, first = (
        FrozenTeacher(network, published, TeacherSettings(windows=windows), "cpu", compiled=False)
        for windows in ("all", "first")
    )
    inputs = every.inputs(frames)
    np.testing.assert_array_equal(inputs, np.stack([frames[start : start + 32 : 2] for start in (0, 19, 38)]))
    np.testing.assert_array_equal(first.inputs(frames), inputs[:1])


def test_echo_prime_reads_sentences(echo_prime: Path, prime: FrozenTeacher) -> None:
    state = torch.load(echo_prime / "echo_prime_text_encoder.pt")
    bert = BertForMaskedLM(small_bert()).eval()
    bert.load_state_dict({key[9:]: value for key, value in state.items() if key.startswith("backbone.")})
    tokenizer = BertTokenizerFast(vocab_file=str(echo_prime / "vocab.txt"), do_lower_case=True)
    expected = []
    for sentence in SENTENCES:  # padded to the whole context, one by one, as published
        tokens = tokenizer([sentence], padding="max_length", max_length=512, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = bert(**tokens, output_hidden_states=True).hidden_states[-1][:, 0]
        expected.append(unit(hidden @ state["text_projection.weight"].T + state["text_projection.bias"])[0])
    assert prime.has_text_tower
    np.testing.assert_allclose(prime.embed_text(SENTENCES), expected, atol=1e-4)


@pytest.mark.slow
def test_echo_prime_without_its_text_encoder_reads_none(echo_prime: Path, tmp_path: Path) -> None:
    (tmp_path / "echo_prime_encoder.pt").symlink_to(echo_prime / "echo_prime_encoder.pt")
    settings = TeacherSettings(model=f"echo-prime:{tmp_path}")
    assert not load_teacher(settings, "cpu").has_text_tower
    (tmp_path / "echo_prime_text_encoder.pt").symlink_to(echo_prime / "echo_prime_text_encoder.pt")
    with pytest.raises(UserError, match=r"the folder needs vocab\.txt"):
        load_teacher(settings, "cpu")


def test_a_trained_projection_is_never_dropped_in_silence(echo_prime: Path, tmp_path: Path) -> None:
    weights = echo_prime / "echo_prime_encoder.pt"
    with pytest.raises(UserError, match=r"head, gives 512 numbers, not the 400 classes.*echo-prime:FOLDER") as caught:
        load_teacher(TeacherSettings(model="torchvision:mvit_v2_s", weights=str(weights)), "cpu")
    assert "\n" not in str(caught.value)
    state = torch.load(weights)
    state["head.1.weight"], state["head.1.bias"] = state["head.1.weight"][:400], state["head.1.bias"][:400]
    torch.save(state, tmp_path / "echo_prime_encoder.pt")
    with pytest.raises(UserError, match=r"cannot be loaded: RuntimeError"):
        load_teacher(TeacherSettings(model=f"echo-prime:{tmp_path}"), "cpu")


# PanEcho


@pytest.fixture(scope="module")
def panecho(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights under the published names: the backbone, the time code, two of the 39 heads."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        image = convnext_tiny()
        layer = nn.TransformerEncoderLayer(768, 8, 768, batch_first=True)
        transformer = nn.TransformerEncoder(layer, 4)
        for weight in transformer.parameters():  # the four layers begin as copies of one
            weight.data += 0.02 * torch.randn_like(weight)
        head = torch.randn(1, 768)
    position, rate = np.arange(16)[:, None], np.exp(np.arange(0, 768, 2) * -np.log(10000.0) / 768)
    code = np.zeros((1, 16, 768), np.float32)
    code[0, :, 0::2], code[0, :, 1::2] = np.sin(position * rate), np.cos(position * rate)
    state = {
        f"encoder.encoder.model.{key}": value for key, value in image.state_dict().items() if key[:12] != "classifier.2"
    }
    state |= {f"encoder.transformer.{key}": value for key, value in transformer.state_dict().items()}
    state |= {
        "encoder.time_encoder.pe": torch.from_numpy(code),
        "EF_head.1.weight": head,
        "EF_head.1.bias": head[0, :1],
    }
    path = tmp_path_factory.mktemp("panecho") / "panecho.pt"
    torch.save({"weights": state}, path)
    return path


def attention_layer(states: torch.Tensor, weights: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """One post-norm transformer layer of one clip, (frame, 768), head by head (Vaswani et al., 2017)."""
    asked, keys, values = (
        states @ weights[f"{name}.self_attn.in_proj_weight"].T + weights[f"{name}.self_attn.in_proj_bias"]
    ).chunk(3, 1)
    heads = []
    for head in range(8):
        part = slice(96 * head, 96 * head + 96)
        share = (asked[:, part] @ keys[:, part].T / 96**0.5).softmax(dim=1)
        heads.append(share @ values[:, part])
    mixed = (
        torch.cat(heads, 1) @ weights[f"{name}.self_attn.out_proj.weight"].T
        + weights[f"{name}.self_attn.out_proj.bias"]
    )
    states = F.layer_norm(states + mixed, (768,), weights[f"{name}.norm1.weight"], weights[f"{name}.norm1.bias"])
    inner = (states @ weights[f"{name}.linear1.weight"].T + weights[f"{name}.linear1.bias"]).relu()
    inner = inner @ weights[f"{name}.linear2.weight"].T + weights[f"{name}.linear2.bias"]
    return F.layer_norm(states + inner, (768,), weights[f"{name}.norm2.weight"], weights[f"{name}.norm2.bias"])


def test_panecho_is_the_published_backbone(panecho: Path) -> None:
    teacher = load_teacher(TeacherSettings(model=f"panecho:{panecho}"), "cpu")
    assert (teacher.dim, teacher.image_size, teacher.has_text_tower) == (768, 112, False)
    frames = frames_of(16, 112)
    state = torch.load(panecho)["weights"]
    image = convnext_tiny().eval()
    image.classifier[-1] = nn.Identity()
    image.load_state_dict({key[22:]: value for key, value in state.items() if key.startswith("encoder.encoder.model.")})
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    planes = [
        ((frames[frame, :, :, colour] / 255) - mean[colour]) / deviation[colour]
        for colour in range(3)
        for frame in range(16)
    ]
    images = torch.tensor(np.array(planes).reshape(16, 3, 112, 112), dtype=torch.float32)  # as the authors reshape
    with torch.inference_mode():
        states = image(images) + state["encoder.time_encoder.pe"][0]
        for layer in range(4):
            states = attention_layer(states, state, f"encoder.transformer.layers.{layer}")
    np.testing.assert_allclose(vectors(teacher, frames), unit(states.mean(0, keepdim=True)), atol=1e-4)


def test_weights_of_something_else_are_not_panecho(panecho: Path, echo_prime: Path, tmp_path: Path) -> None:
    state = torch.load(panecho)["weights"]
    del state["encoder.time_encoder.pe"]
    torch.save({"weights": state}, tmp_path / "lacks.pt")
    for path, message in (
        (echo_prime / "echo_prime_encoder.pt", "is no part of PanEcho"),
        (tmp_path / "lacks.pt", "cannot be loaded: RuntimeError"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            load_teacher(TeacherSettings(model=f"panecho:{path}"), "cpu")
        assert "\n" not in str(caught.value)


# transformers

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 48}
MEAN, DEVIATION = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(ViTModel(ViTConfig(patch_size=16, **SMALL)), tmp_path_factory.mktemp("vit"))


def saved(model: nn.Module, folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        for weight in model.parameters():
            weight.data += 0.05 * torch.randn_like(weight)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": DEVIATION}))
    return folder


def test_an_image_model_of_transformers_gives_its_pooled_output(vit: Path) -> None:
    teacher = load_teacher(TeacherSettings(model=f"transformers:{vit}"), "cpu")
    frames = frames_of(5, 48)
    pixels = (torch.from_numpy(frames).float() / 255 - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    with torch.inference_mode():
        expected = ViTModel.from_pretrained(vit).eval()(pixels.permute(0, 3, 1, 2)).pooler_output
    np.testing.assert_allclose(vectors(teacher, frames), unit(expected), atol=1e-5)


def test_a_video_model_of_transformers_takes_windows(tmp_path: Path) -> None:
    folder = saved(VideoMAEModel(VideoMAEConfig(patch_size=16, num_frames=4, tubelet_size=2, **SMALL)), tmp_path)
    teacher = load_teacher(TeacherSettings(model=f"transformers:{folder}"), "cpu")
    frames = frames_of(8, 48)
    pixels = (torch.from_numpy(frames).float() / 255 - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    windows = pixels.permute(0, 3, 1, 2).reshape(2, 4, 3, 48, 48)
    with torch.inference_mode():
        expected = VideoMAEModel.from_pretrained(folder).eval()(windows).last_hidden_state.mean(1)
    np.testing.assert_allclose(vectors(teacher, frames), unit(expected), atol=1e-5)


def test_a_model_of_transformers_must_be_whole_and_take_pictures(vit: Path, tmp_path: Path) -> None:
    state = ViTModel.from_pretrained(vit).state_dict()
    del state["layernorm.weight"]
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((vit / name).read_bytes())
    with pytest.raises(UserError, match=r"the folder needs model\.safetensors"):
        load_teacher(TeacherSettings(model=f"transformers:{tmp_path}"), "cpu")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"the weights lack layernorm\.weight"):
        load_teacher(TeacherSettings(model=f"transformers:{tmp_path}"), "cpu")


# All kinds


def test_a_vector_does_not_depend_on_its_batch(vit: Path) -> None:
    teacher = load_teacher(TeacherSettings(model=f"transformers:{vit}"), "cpu")
    frames = frames_of(6, 48)
    alone = np.concatenate([teacher.forward(torch.from_numpy(frame[None])).numpy() for frame in frames])
    np.testing.assert_allclose(vectors(teacher, frames), alone, atol=1e-5)


def test_identity_is_the_content_wherever_it_lies(vit: Path, tmp_path: Path) -> None:
    for path in vit.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    first, moved = (teacher_identity(TeacherSettings(model=f"transformers:{folder}")) for folder in (vit, tmp_path))
    assert first == moved
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert teacher_identity(TeacherSettings(model=f"transformers:{tmp_path}")) != first


def test_an_unknown_prefix_lists_the_kinds() -> None:
    with pytest.raises(UserError, match="unknown schema 's3', use echo-prime:, hf-hub:, local-dir:, panecho:, table:"):
        load_teacher(TeacherSettings(model="s3:bucket"), "cpu")


# Preparation of frames


def test_the_published_crop_of_a_real_clip(shipped_clip: Path) -> None:
    """Every second of the first 40 frames, the central square less a tenth, cubic: ECHO-CLIP's own example."""
    stale = {"mask": False, "region": "first", "stale_region": "rescale"}  # of pydicom's reduced clip
    settings = TeacherSettings(crop="centre", frame_stride=2, max_frames=20, frames_from="start", **stale)
    seen = read_clip(shipped_clip, settings, 224)
    whole = read_clip(shipped_clip, TeacherSettings(**stale), 112)
    assert len(seen) == min(20, -(-len(whole) // 2))
    clip = read_header(shipped_clip)
    box = teacher_region(clip, settings)
    full = [frame[box] for frame in decode_frames(clip, list(range(clip.frames)))]
    for index in (0, len(seen) - 1):
        picture = full[2 * index]
        height, width = picture.shape[:2]
        if width > height:
            padding = round((width - height) / 2)
            picture = picture[:, padding : width - padding]
        elif height > width:
            padding = round((height - width) / 2)
            picture = picture[padding : height - padding]
        x, y = round(int(picture.shape[1] * 0.1)), round(int(picture.shape[0] * 0.1))
        picture = picture[y:-y, x:-x]
        np.testing.assert_array_equal(seen[index], cv2.resize(picture, (224, 224), interpolation=cv2.INTER_CUBIC))


def test_colours_can_be_exchanged(vit: Path) -> None:
    frames = frames_of(3, 48)
    usual, exchanged = (
        load_teacher(TeacherSettings(model=f"transformers:{vit}", channels=order), "cpu") for order in ("rgb", "bgr")
    )
    np.testing.assert_allclose(vectors(exchanged, frames), vectors(usual, frames[..., ::-1].copy()), atol=1e-6)
