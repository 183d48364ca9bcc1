"""Sections `simulator`, `teaching` and `execution`: what a run begins with, and where and within which limits it runs.

No version depends on `execution`.
"""

from typing import Annotated, Literal

from pydantic import Field

from echoingecg.recipe.stages import Count, NotNegative, Positive, Section, Share


class SimulatorSettings(Section):
    """Section `simulator`: the simulated export that is used if no export is given."""

    patients: Annotated[int, Field(ge=0)] = Field(300, description="simulated patients")
    seed: int = Field(43, description="the same seed gives the same bytes; patient i does not depend on `patients`")
    clip_beats: Annotated[float, Field(ge=1)] = Field(1.0, description="length of an echo clip, beats of its patient")
    frame_rate: Positive = Field(30.0, description="echo frames a second, 1/s")
    frame_height: Annotated[int, Field(ge=64)] = Field(240, description="echo image height, px")
    frame_width: Annotated[int, Field(ge=64)] = Field(320, description="echo image width, px")
    parasternal_share: Share = Field(0.0, description="share of studies with a parasternal long-axis clip beside")
    colour_share: Share = Field(0.0, description="share of studies with a colour Doppler clip beside")
    lead_fault_rate: Share = Field(0.02, description="share of ECG recordings with a fault of an electrode or a lead")
    real_recordings: bool = Field(True, description="add the echo clip and the 12-lead ECG that pydicom ships")


class ExecutionSettings(Section):
    """Section `execution`: how to run. No version depends on it."""

    workers: Count = Field(1, description="processes for decoding; above 1 a local Dask cluster is started")
    dask: str = Field("", description="address of an existing Dask scheduler, for example tls://host:8786")
    pools: str = Field(
        "",
        pattern=r"^(s3://[^/\s]+(/\S*)?)?$",
        description="s3://bucket/prefix for signals and embeddings; empty keeps them in the workspace",
    )
    decode_threads: Count = Field(
        4, description="threads that decode echo clips while the teacher runs, where no Dask workers do"
    )
    decode_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        120.0, description="time that decoding one file may take, s; then it is refused as stopped"
    )
    decode_megabytes: Annotated[int, Field(ge=64)] = Field(
        2048, description="memory that decoding one file may take, MB; then it is refused as stopped"
    )
    compile_teacher: bool = Field(False, description="torch.compile for the teacher: minutes once, then faster passes")
    commit_every: Count = Field(2000, description="files between two commits to a pool: what kill -9 can lose")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where networks run")
    devices: Count = Field(
        1, description="GPUs of this machine that embed and train; without GPUs, processes that train the student"
    )
    tracking: Literal["none", "mlflow", "tensorboard"] = Field(
        "none", description="experiment tracker that gets losses, recalls, metrics and versions; extra `tracking`"
    )
    threads: Annotated[int, Field(ge=0)] = Field(0, description="torch threads; 0 leaves torch's choice")
    allow_unlabelled: bool = Field(
        False, description="go on where an endpoint of the evaluation has no label on the training or the test side"
    )
    max_gone_share: Share = Field(
        0.1,
        description="refuse an export that lacks more than this share of the ECGs, echo clips, reports or measurements "
        "that the same folder, or the export before it in the inbox, held: its copy may not be complete",
    )


class TeachingSettings(Section):
    """Section `teaching`: how the demo teacher, a small CLIP of echo frames and report sentences, is trained.

    Contrastive training as in Radford et al., ICML 2021.
    """

    frames_per_clip: Count = Field(12, description="frames taken of a clip, evenly spread")
    held_out: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="share of patients kept apart, to measure on"
    )
    steps: Count = Field(1300, description="optimiser steps")
    batch_size: Annotated[int, Field(ge=2)] = Field(
        128, description="studies a batch: a frame and some sentences of each"
    )
    small_size: Count = Field(56, description="frame edge at the first step, px: four times the speed of 112")
    growing_share: Share = Field(0.75, description="share of the steps over which frames grow to the model's own size")
    learning_rate: Positive = Field(1e-3, description="AdamW peak learning rate")
    weight_decay: NotNegative = Field(0.05, description="AdamW weight decay; none for norms, biases, temperature")
    warmup_share: Share = Field(0.05, description="share of the steps spent on linear warm-up; then cosine to 0")
    warmup_start: Share = Field(0.01, description="first learning rate as a share of the peak")
    sorting_weight: NotNegative = Field(1.0, description="weight of sorting frames by their reports' sentences")
    number_weight: NotNegative = Field(1.0, description="weight of ordering sentences that differ in a number")
    gradient_clip: Positive = Field(1.0, description="largest gradient norm")
    seed: int = Field(43, description="initialisation, order, frames, sentences")
