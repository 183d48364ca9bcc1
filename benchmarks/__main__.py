"""Runs every comparison and writes benchmarks/results/latest.md."""

import os
import platform
from pathlib import Path

import torch

from benchmarks import ecg, echo, loss, rerun

HEAD = """# Benchmarks

Made by `make bench` on {cores} cores ({machine}), torch {torch} with {threads} threads. Seconds are medians within one
run; only the ratio travels to another machine.

| work | plain route | plain, s | ours, s | ratio | goal |
|---|---|---|---|---|---|
"""


def main() -> None:
    target = Path(__file__).parent / "results" / "latest.md"
    lines = []
    for module in (loss, echo, ecg, rerun):
        for row in module.rows():
            lines.append(row.as_markdown())
            print(lines[-1], flush=True)  # noqa: T201
    head = HEAD.format(
        cores=os.cpu_count(), machine=platform.machine(), torch=torch.__version__, threads=torch.get_num_threads()
    )
    target.parent.mkdir(exist_ok=True)
    target.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
