"""What a run was asked for: seeds, size of a hospital, and the demo recipe cut to the time at hand."""

from dataclasses import dataclass
from pathlib import Path

from echoingecg.recipe import Recipe
from flows.request import find_recipe

ENDPOINT = "LVEF < 40 %"  # of the demo recipe
FIRST_SEED = 101  # none that the demo, the tests or the trials behind the settings use
COMPARED = ("ceiling", "both", "text", "echo")  # run on every seed: a paired difference wants many
CONTROL_SEEDS = 5  # all else is run on the first so many
SPLIT = "pairs.split={train: 0.6, validation: 0.15, test: 0.25}"
FULL = ("student.epochs=16", "student.patience=5")
QUICK = ("student.epochs=2", "student.batch_size=8")


@dataclass(frozen=True)
class Order:
    """One order.

    Attributes:
        workspace: folder that holds hospitals and results; absolute.
        seeds: number of hospitals for the arms that are compared.
        patients: of each hospital.
        quick: two epochs: shows that everything runs, and nothing else.
    """

    workspace: Path
    seeds: int
    patients: int
    quick: bool = False

    @property
    def all_seeds(self) -> range:
        return range(FIRST_SEED, FIRST_SEED + self.seeds)

    def seeds_of(self, name: str) -> range:
        """The seeds that a result is wanted of."""
        return self.all_seeds if name in COMPARED else self.all_seeds[:CONTROL_SEEDS]

    def recipe(self, seed: int) -> Recipe:
        """The demo recipe on a hospital of its own, initialised by the same seed."""
        return find_recipe(
            "demo",
            [
                f"simulator.patients={self.patients}",
                f"simulator.seed={seed}",
                "simulator.real_recordings=false",
                SPLIT,
                f"student.seed={seed}",
                "student.checkpoint_steps=100000",
                "execution.threads=1",
                *(QUICK if self.quick else FULL),
            ],
        )

    def hospital(self, seed: int) -> Path:
        """Workspace of one hospital."""
        return self.workspace / f"hospital-{seed}"

    def results(self, seed: int) -> Path:
        """Folder of one JSON file an arm."""
        return self.workspace / "results" / f"seed-{seed}"
