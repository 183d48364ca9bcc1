"""A simulated hospital through the first four stages.

Shape legend: D = shared embedding width.
"""

import json
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from data_contracts.conventions import UPSTREAM, Stage
from echoingecg.common import fingerprint, hash_array
from echoingecg.evaluation.data.embed import GaussianTable
from echoingecg.recipe import Endpoint
from echoingecg.student.data.pairs import TrainingData
from experiments.cases import Cases, read_cases
from experiments.order import ENDPOINT, Order
from flows.request import make_job
from tasks.all_stages import WORKS
from tasks.store import Artefact, Job
from tasks.student import training_data

STAGES: tuple[Stage, ...] = ("catalog", "ecg", "teacher", "pairs")
BUILT = "hospital.json"


@dataclass(frozen=True)
class Hospital:
    """What the arms learn from and are judged on.

    Attributes:
        order: what was asked for.
        seed: of the simulator and of every initialisation.
        versions: artefact version by stage.
        data: pairs of the training and validation patients.
        cases: of all patients.
        prompts: teacher's embeddings of the endpoint's sentences, (prompt, D) float32, by 'positive' and 'negative'.
    """

    order: Order
    seed: int
    versions: dict[str, str]
    data: TrainingData
    cases: Cases
    prompts: dict[str, np.ndarray]

    @property
    def endpoint(self) -> Endpoint:
        return endpoint_of(self.order, self.seed)

    @property
    def targets(self) -> GaussianTable:
        """The teacher's Gaussians of all studies."""
        return GaussianTable.from_log_var(self.data.target_mean, self.data.target_log_var)

    @property
    def prompts_digest(self) -> str:
        """Of the teacher's embeddings."""
        return fingerprint([hash_array(self.prompts[side]) for side in sorted(self.prompts)])

    @classmethod
    def open(cls, order: Order, seed: int) -> Self:
        """Reads what `build` left."""
        built: dict[str, Any] = json.loads((order.hospital(seed) / BUILT).read_text(encoding="utf-8"))
        job = _job(order, seed)
        artefacts: dict[Stage, Artefact] = {}
        for stage in STAGES:
            found = job.store.find(stage, built["versions"][stage])
            assert found is not None, f"{stage} of seed {seed} is gone: remove {BUILT} and run again"
            artefacts[stage] = found
        data = training_data(job, artefacts)
        prompts = {side: np.array(rows, np.float32) for side, rows in built["prompts"].items()}
        cases = read_cases(job, artefacts, data, endpoint_of(order, seed))
        return cls(order, seed, built["versions"], data, cases, prompts)


def build(order: Order, seed: int) -> None:
    """Simulates, runs the stages (those that are published cost nothing), and embeds the prompts by the teacher."""
    from echoingecg.simulator.export import simulate
    from echoingecg.teacher.networks.kind import load_teacher

    job = _job(order, seed)
    if not job.export.exists():
        job.export.parent.mkdir(parents=True, exist_ok=True)
        assert job.recipe.simulator is not None
        simulate(job.recipe.simulator, job.export)
    artefacts: dict[Stage, Artefact] = {}
    for stage in STAGES:
        artefacts[stage], _ = WORKS[stage].run(job, {above: artefacts[above] for above in UPSTREAM[stage]})
    endpoint = endpoint_of(order, seed)
    teacher = load_teacher(job.recipe.teacher, "cpu")
    sides = {"positive": endpoint.positive_prompts, "negative": endpoint.negative_prompts}
    prompts = {side: teacher.embed_text(list(texts)).tolist() for side, texts in sides.items()}
    versions = {stage: one.version for stage, one in artefacts.items()}
    (order.hospital(seed) / BUILT).write_text(json.dumps({"versions": versions, "prompts": prompts}), encoding="utf-8")


def endpoint_of(order: Order, seed: int) -> Endpoint:
    """The demo recipe's question about LVEF."""
    return next(one for one in order.recipe(seed).evaluation.endpoints if one.name == ENDPOINT)


def _job(order: Order, seed: int) -> Job:
    return make_job(order.recipe(seed), "", str(order.hospital(seed)))
