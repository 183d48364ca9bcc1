"""The tasks of a run: hospitals first, then every arm of every seed, in processes; what is done stays done."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

import torch

from echoingecg import evaluation, student
from echoingecg.common import fingerprint
from echoingecg.student.inference import LoadedStudent
from echoingecg.student.train import train
from experiments import STUDY_VERSION, VERSION
from experiments.arms import ARMS, CEILING, SCRATCH, Arm, shuffled
from experiments.baselines import ceiling, scratch
from experiments.hospital import Hospital, build
from experiments.judge import judge
from experiments.order import CONTROL_SEEDS, Order

_FIRST = (CEILING, "both", "text", "echo", "both_shuffled_1", "echo_shuffled_1", "augmented", SCRATCH)
NAMES = (*_FIRST, *(arm.name for arm in ARMS if arm.name not in _FIRST))
SCRATCH_EPOCHS = (80, 15)  # at most, patience


def run(order: Order, workers: int, say: Callable[[str], None]) -> None:
    """Builds the hospitals and every result that is not there yet.

    Args:
        order: what to run.
        workers: processes, one thread each: the networks are too small to share one.
        say: told of every task that ends.
    """
    with ProcessPoolExecutor(workers, get_context("spawn"), quiet) as pool:
        _all(pool, build_one, ((order, seed) for seed in order.all_seeds), say)
        # Arm by arm, the claims' own arms first, then the seeds beyond the controls': a run that is cut short still
        # compares them over as many seeds.
        wanted = [(order, seed, name) for name in NAMES for seed in order.seeds_of(name)]
        _all(pool, result_of, sorted(wanted, key=lambda one: one[1] in order.all_seeds[CONTROL_SEEDS:]), say)


def build_one(order: Order, seed: int) -> str:
    """Builds a hospital; what it did, in words."""
    started = time.perf_counter()
    build(order, seed)
    return f"seed {seed}: hospital ready in {time.perf_counter() - started:.0f} s"


def result_of(order: Order, seed: int, name: str) -> str:
    """Makes one result unless it is there, made from the same hospital and settings; what it did, in words."""
    hospital = Hospital.open(order, seed)
    arm = next((one for one in ARMS if one.name == name), None)
    settings = (arm or ARMS[0]).settings(order.recipe(seed)).model_dump(mode="json")
    codes = [VERSION, student.CODE_VERSION, evaluation.CODE_VERSION]
    codes += [STUDY_VERSION] if arm and arm.studied else []
    key = fingerprint([codes, hospital.versions, hospital.prompts_digest, settings, arm.shuffle if arm else name])
    path = order.results(seed) / f"{name}.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8"))["key"] == key:
        return f"seed {seed}: {name} was there"
    started = time.process_time()
    if arm is not None:
        found = _trained(hospital, arm)
    elif name == SCRATCH:
        epochs, patience = SCRATCH_EPOCHS
        found = scratch(hospital, 2 if order.quick else epochs, patience)
    else:
        found = ceiling(hospital)
    found |= {"key": key, "seed": seed, "name": name, "cpu_seconds": time.process_time() - started}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(found, allow_nan=False), encoding="utf-8")
    partial.replace(path)
    return f"seed {seed}: {name} in {found['cpu_seconds']:.0f} s of CPU"


def _trained(hospital: Hospital, arm: Arm) -> dict[str, Any]:
    recipe = hospital.order.recipe(hospital.seed)
    data = shuffled(hospital.data, (hospital.seed, arm.shuffle)) if arm.shuffle else hospital.data
    scratch_folder = hospital.order.workspace / "training" / f"{hospital.seed}-{arm.name}"
    done = train(data, arm.settings(recipe), recipe.execution, scratch_folder)
    ready = LoadedStudent(done.settings, done.objective, done.tokenizer, done.scaler, torch.device("cpu"))
    found = judge(hospital, arm, ready)
    shutil.rmtree(scratch_folder)
    return found | {"best_epoch": done.best_epoch, "steps": done.steps, "parameters": _size(ready)}


def _size(ready: LoadedStudent) -> int:
    return sum(one.numel() for one in ready.objective.student.ecg_encoder.parameters())


def _all(
    pool: ProcessPoolExecutor, work: Callable[..., str], tasks: Iterable[tuple[Any, ...]], say: Callable[[str], None]
) -> None:
    """Runs the tasks and passes on what they say; the first fault ends the run once the others are through."""
    for done in as_completed([pool.submit(work, *task) for task in tasks]):
        say(done.result())


def quiet() -> None:
    """Silences logs and keeps a worker process to one thread."""
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
