"""Runs every comparison and writes benchmarks/results/latest.md; given names, runs those and prints alone."""

import argparse
import os
import platform
import time
from pathlib import Path

import torch

from benchmarks import (
    ecg,
    echo,
    encoder,
    evaluation,
    formats,
    loader,
    loop,
    loss,
    orchestration,
    predict,
    rerun,
    teacher,
)

RUN = (loss, encoder, loop, loader, echo, teacher, ecg, formats, evaluation, predict, orchestration, rerun)
MODULES = {module.__name__.rpartition(".")[2]: module for module in RUN}
HEAD = """# Benchmarks

Made by `make bench` in {minutes:.0f} minutes on {cores} cores ({machine}), torch {torch} with {threads} threads; load
average at the start {load:.1f}. Both sides of a row were measured in this run, each as its fastest call; only the ratio
(plain / ours) travels to another machine. docs/performance.md says what is measured and what limits each.

"""
COLUMNS = """| work | plain route | unit | plain | ours | ratio | goal |
|---|---|---|---|---|---|---|
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(MODULES)}; none: all")
    names = parser.parse_args().names
    if unknown := set(names) - set(MODULES):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}: choose from {', '.join(MODULES)}")
    load, started = os.getloadavg()[0], time.perf_counter()
    print(COLUMNS, end="")  # noqa: T201
    lines = []
    for name in names or MODULES:
        for row in MODULES[name].rows():
            lines.append(row.as_markdown())
            print(lines[-1], flush=True)  # noqa: T201
    if names:
        return
    head = HEAD.format(
        minutes=(time.perf_counter() - started) / 60,
        cores=os.cpu_count(),
        machine=platform.machine(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        load=load,
    )
    target = Path(__file__).parent / "results" / "latest.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(head + COLUMNS + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
