"""Echo frames to embeddings: ConvNeXt-Base (ECHO-CLIP's image tower) with random weights, and the whole teacher stage.

The plain route is a loop of one float32 frame after another through timm's network. The bare forward is the
network alone, on batches that lie ready in its own dtype and layout. Ours starts from uint8 frames in memory,
or from DICOM files, and ends with float16 vectors on the host.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import open_clip
import timm
import torch
from pydicom.data import get_testdata_file

from benchmarks.echo_export import echo_job, write_export
from benchmarks.measure import Row, at_least, at_most, in_fresh_process, once, peak_mb, seconds
from echoingecg.common import hash_files
from echoingecg.recipe import ExecutionSettings, TeacherSettings
from echoingecg.teacher.embed import embed_clips
from echoingecg.teacher.networks.frozen import FrozenTeacher, Preprocessing
from tasks.all_stages import WORKS
from tasks.base.workers import mapper
from tasks.ingest.blocks import SourceFile, clip_blocks
from tasks.ingest.supervised import Limits, decode_clip
from tasks.store import Job

SIZE, BATCH = 224, 15
FILES = 2  # of 30 frames
FEW, MANY = 200, 2_000
REPEATS = 5
_LOOPED = 5  # frames


def _teacher(precision: str) -> FrozenTeacher:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model("convnext_base", num_classes=512)
    preprocessing = Preprocessing(SIZE, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    return FrozenTeacher(
        network, preprocessing, TeacherSettings(precision=precision, batch_frames=BATCH), "cpu", compiled=False
    )


def _speed() -> Iterator[Row]:
    clip = Path(str(get_testdata_file("examples_ybr_color.dcm")))
    files = [SourceFile(clip, hash_files([clip]), hash_files([clip]))] * FILES
    frames = np.random.default_rng(0).integers(0, 256, (30 * FILES, SIZE, SIZE, 3)).astype(np.uint8)
    network = timm.create_model("convnext_base", num_classes=512).eval()
    one = torch.randn(1, 3, SIZE, SIZE)

    @torch.inference_mode()
    def loop() -> None:
        for _ in range(_LOOPED):
            network(one)

    plain = seconds(loop, REPEATS) / _LOOPED
    work, loops = f"ConvNeXt-Base, {SIZE} px", "float32 frame by frame"
    exact = _teacher("float32")
    ours = seconds(lambda: list(embed_clips([(0, frames)], [exact])), REPEATS)
    yield Row(f"{work}, float32, batches of {BATCH}", loops, plain, ours / len(frames), unit="s a frame")
    half = _teacher("bfloat16")
    ready = torch.randn(BATCH, 3, SIZE, SIZE).to(torch.bfloat16, memory_format=torch.channels_last)

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(len(frames) // BATCH):
            half._network(ready)

    def decoded() -> None:
        with mapper(ExecutionSettings(), len(files), 2) as run:
            decode = partial(decode_clip, TeacherSettings(), half.image_size, Limits(120.0, 2048))
            list(clip_blocks(run, decode, [half], 8, [files]))

    alone = seconds(bare, REPEATS)
    ours = seconds(lambda: list(embed_clips([(0, frames)], [half])), REPEATS)
    ends = seconds(decoded, REPEATS)
    yield Row(f"{work}, bfloat16, batches of {BATCH}", loops, plain, ours / len(frames), at_least(2.2), "s a frame")
    bf16 = f"{work}, bfloat16, {len(frames)} frames"
    yield Row(f"{bf16} in memory", "the bare forward", alone, ours, at_least(0.95))
    yield Row(f"{bf16} of DICOM files, decoding beside", "the bare forward", alone, ends, at_least(0.95))


def stage(job: Job) -> float:
    """Wall seconds of the teacher stage; the catalog before it is not counted."""
    catalog, _ = WORKS["catalog"].run(job, {})
    return once(lambda: WORKS["teacher"].run(job, {"catalog": catalog}))


def peak(export: str, workspace: str) -> float:
    """Peak resident MB of a process that runs the stage."""
    stage(echo_job(export, workspace, "execution.commit_every=100"))
    return peak_mb()


def rows() -> Iterator[Row]:
    """The stage runs on small clips with the demo teacher."""
    yield from _speed()
    with tempfile.TemporaryDirectory() as folder:
        export, own_size = Path(folder) / "export", "teacher.image_size=0"
        write_export(export, FEW)
        few = in_fresh_process("teacher", "peak", str(export), f"{folder}/few")
        write_export(export, MANY, before=FEW)
        many = in_fresh_process("teacher", "peak", str(export), f"{folder}/many")
        yield Row(f"peak memory of the teacher stage: {MANY} clips", f"{FEW} clips", few, many, at_most(1.2), "MB")
        first = stage(echo_job(export, f"{folder}/one", own_size))
        more = MANY + MANY // 100
        write_export(export, more, before=MANY)
        grown = stage(echo_job(export, f"{folder}/one", own_size))
        yield Row(f"{MANY // 100} new clips beside {MANY}", "the first run of all", first, grown, at_most(0.03))
