"""Exports of ECGs alone, in MIMIC-IV-ECG's layout: simulated hearts, each record of its own content."""

import csv
from functools import cache
from pathlib import Path

import numpy as np

from echoingecg.simulator.ecg.heart_vector import draw_beats
from echoingecg.simulator.ecg.record import DURATION, simulate_ecg, write_wfdb
from echoingecg.simulator.population.patient import sample_heart
from flows.request import find_recipe, make_job
from tasks.store import Job

_HEARTS = 16


def write_export(root: Path, records: int, before: int = 0) -> None:
    """Writes `records` records, of which the first `before` are there already."""
    folder, rows = root / "mimic-iv-ecg", []
    for number in range(records):
        name = f"files/p{number // 1000}/p{10_000_000 + number}/s{40_000_000 + number}/{40_000_000 + number}"
        if number >= before:
            write_wfdb(folder / name, _signal(number))
        rows.append([10_000_000 + number, 40_000_000 + number, number, "2180-07-23 08:44:00", name])
    with (folder / "record_list.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject_id", "study_id", "file_name", "ecg_time", "path"])
        table.writerows(rows)


def ecg_job(export: Path | str, workspace: Path | str, **execution: int | str) -> Job:
    """Recipe `paper` with a public key; `execution` as in the recipe."""
    settings = [
        "catalog.public_key=open",
        "ecg.max_refused_share=0.1",
        *(f"execution.{name}={value}" for name, value in execution.items()),
    ]
    return make_job(find_recipe("paper", settings), str(export), str(workspace), public_data=True)


def _signal(number: int) -> np.ndarray:
    """float64 (12, 5000), mV: one of a few hearts, turned in time and scaled."""
    scale = 0.8 + 0.4 * ((number * 7919) % 1009) / 1009
    return np.roll(_heart(number % _HEARTS), 11 * number, axis=1) * scale


@cache
def _heart(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    heart = sample_heart(random)
    return simulate_ecg(heart, draw_beats(heart, DURATION, random), random)
