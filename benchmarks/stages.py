"""The stages as plain functions, one after the other: no flow, no task, no server.

As a program, `python -m benchmarks.stages EXPORT WORKSPACE`: the smoke recipe, with no imports but what that needs.
"""

import sys

from data_contracts.conventions import UPSTREAM, Stage
from flows.request import find_recipe, make_job
from tasks.all_stages import WORKS
from tasks.store import Artefact, Job


def run_stages(job: Job) -> None:
    """Builds what is missing."""
    artefacts: dict[Stage, Artefact] = {}
    for stage, work in WORKS.items():
        artefacts[stage], _ = work.run(job, {above: artefacts[above] for above in UPSTREAM[stage]})


if __name__ == "__main__":
    _, export, workspace = sys.argv
    run_stages(make_job(find_recipe("smoke", []), export, workspace, public_data=True))
