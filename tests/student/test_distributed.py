"""Several processes: the same loss, gradients and weights as one process with the whole batch."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import distributed, multiprocessing, nn

from echoingecg.common import ContractError, TrainingError
from echoingecg.recipe import ExecutionSettings, StudentSettings
from echoingecg.student.data.batches import Batch
from echoingecg.student.data.batches import prompt_texts as prompts
from echoingecg.student.data.pairs import TrainingData
from echoingecg.student.distributed import Share, check_share, gather_numbers, gather_rows
from echoingecg.student.loss import InfoNceLoss, PcmeLoss, repeated_partners, study_likelihood
from echoingecg.student.model.gaussian_heads import GaussianTensor
from echoingecg.student.model.text_encoder import built_in_tokenizer
from echoingecg.student.train import train
from helpers.cases.student_data import ArraySignals, settings, training_data
from helpers.paths import TESTS

ROWS, WIDTH, DIM = 8, 5, 6
LOSSES = ("pcmepp", "infonce")
TWO = ExecutionSettings(device="cpu", threads=1, devices=2)
ONE = ExecutionSettings(device="cpu", threads=1)


class Towers(nn.Module):
    """Two linear towers and a loss: enough to see every path of the gradient."""

    def __init__(self, loss: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = (nn.Linear(WIDTH, 2 * DIM).double() for _ in range(2))
        recipe = StudentSettings(loss=loss, kl_weight=0.1)
        self.criterion = InfoNceLoss(recipe) if loss == "infonce" else PcmeLoss(recipe)

    def forward(self, rows: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
        a, b = (gather_rows(GaussianTensor(*tower(rows).chunk(2, dim=1))) for tower in (self.a, self.b))
        return self.criterion(a, b, repeated_partners(gather_numbers(identity))).total + study_likelihood(a, b.mean)


def rows_of_everyone() -> torch.Tensor:
    return torch.linspace(-1, 1, ROWS * WIDTH, dtype=torch.float64).sin().reshape(ROWS, WIDTH)


IDENTITY = torch.tensor([0, 1, 2, 1, 3, 0, 4, 4])  # the same within a process, and in both


def _rank(rank: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for loss in LOSSES:
        wrapped = nn.parallel.DistributedDataParallel(Towers(loss))
        total = wrapped(rows_of_everyone().chunk(2)[rank], IDENTITY.chunk(2)[rank])
        total.backward()
        found = {name: one.grad for name, one in wrapped.module.named_parameters()} | {"total": total.detach()}
        save_file(found, Path(folder) / f"{loss}-{rank}.safetensors")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_gathered_gradients_are_those_of_the_whole_batch(tmp_path):
    multiprocessing.spawn(_rank, (str(tmp_path),), nprocs=2)
    for loss in LOSSES:
        module = Towers(loss)
        total = module(rows_of_everyone(), IDENTITY)
        total.backward()
        for rank in (0, 1):
            found = load_file(tmp_path / f"{loss}-{rank}.safetensors")
            assert found.pop("total").item() == pytest.approx(total.item(), rel=1e-6)
            for name, parameter in module.named_parameters():
                torch.testing.assert_close(found[name], parameter.grad, rtol=1e-5, atol=1e-6)


def test_shares_make_up_the_batch_in_order():
    batch = Batch("ecg_echo", np.array([7, 3, 9, 1, 5, 2]))
    shares = [Share(rank, 3) for rank in range(3)]
    assert np.array_equal(np.concatenate([share.part_of(batch).rows for share in shares]), batch.rows)
    assert [list(share.positions(2)) for share in shares] == [[0, 1], [2, 3], [4, 5]]
    assert Share().part_of(batch).rows.tolist() == batch.rows.tolist()


@pytest.mark.parametrize(("batch_size", "processes"), [(9, 2), (2, 2), (8, 16)])
def test_a_batch_that_cannot_be_shared_out_is_one_line(batch_size, processes):
    with pytest.raises(TrainingError, match=f"shared out over {processes} processes"):
        check_share(settings(batch_size=batch_size), processes)


def still_text(data: TrainingData, folder: Path) -> str:
    """A text tower without dropout, whose draws differ between one process and two."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer: Tokenizer = built_in_tokenizer(prompts(data.train.text), 30)
    torch.manual_seed(1)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), **sizes, **dropout)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    return str(folder)


def test_two_processes_train_what_one_trains(tmp_path):
    """Batch norm in eval mode and no dropout: then nothing but the order of sums differs. Texts are often repeated.

    They match each other: as negatives, equal texts tie with the match, and the last bit decides on pseudo-positives.
    """
    data = training_data()
    data = replace(data, train=replace(data.train, text=replace(data.train.text, text=data.train.text.text[:5] * 12)))
    model = settings().model.model_copy(update={"text": still_text(data, tmp_path / "bert")})
    recipe = settings(model=model, freeze_batch_norm=True, same_partner="match")
    seen: list[int] = []
    one = train(data, recipe, ONE, tmp_path / "one")
    two = train(data, recipe, TWO, tmp_path / "two", lambda done, total, note="": seen.append(done))
    assert seen == list(range(1, one.steps + 1)), "progress comes from the first process, in order"
    assert two.steps == one.steps
    for alone, shared in zip(one.history.to_pylist(), two.history.to_pylist(), strict=True):
        assert [value is None for value in shared.values()] == [value is None for value in alone.values()]
        numbers = {name: value for name, value in alone.items() if value is not None}
        assert {name: shared[name] for name in numbers} == pytest.approx(numbers, rel=1e-4)
    start = train(data, recipe.model_copy(update={"learning_rate": 1e-12}), ONE, tmp_path / "start")
    moved = differ = 0.0
    for name, tensor in one.objective.state_dict().items():
        other, first = two.objective.state_dict()[name], start.objective.state_dict()[name]
        # AdamW turns the sign of a gradient near 0 into a whole step: single weights may differ by one.
        torch.testing.assert_close(other, tensor, rtol=0, atol=recipe.learning_rate, msg=name)
        moved += (tensor - first).double().square().sum().item()
        differ += (tensor - other).double().square().sum().item()
    assert differ < 1e-4 * moved


class BrokenSignals(ArraySignals):
    """Fails in a process that trains, at a row of the second one's share."""

    def read(self, rows: np.ndarray) -> np.ndarray:
        if multiprocessing.parent_process() is not None and len(rows) == 4:
            raise ContractError("the ecg artefact is damaged: run stage ecg again")
        return super().read(rows)


@pytest.mark.slow
def test_a_fault_of_a_process_is_its_one_line(tmp_path):
    data = training_data()
    with pytest.raises(ContractError, match=r"^the ecg artefact is damaged: run stage ecg again$"):
        train(replace(data, signals=BrokenSignals(data.signals.array)), settings(), TWO, tmp_path)


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from helpers.cases.student_data import settings, training_data
from echoingecg.recipe import ExecutionSettings
from echoingecg.student.train import train

def deadly(done, total, note=""):
    if done >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    train(training_data(), settings(), ExecutionSettings(device="cpu", threads=1, devices=2), Path(sys.argv[2]), deadly)
"""


@pytest.mark.slow
def test_two_processes_resume_exactly_after_kill_9(tmp_path):
    """With dropout and live batch norm: every process goes on with its own random numbers."""
    for step in (5, 12):
        command = [sys.executable, "-c", CHILD, str(TESTS), str(tmp_path / "killed"), str(step)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    resumed = train(training_data(), settings(), TWO, tmp_path / "killed")
    whole = train(training_data(), settings(), TWO, tmp_path / "whole")
    assert resumed.history.equals(whole.history)
    for name, tensor in whole.objective.state_dict().items():
        assert torch.equal(tensor, resumed.objective.state_dict()[name]), name


TORCHRUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from helpers.cases.student_data import settings, training_data
from echoingecg.recipe import ExecutionSettings
from echoingecg.student.train import train
train(training_data(), settings(), ExecutionSettings(device="cpu", threads=1, devices=2), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_torchrun_gives_the_same_weights(tmp_path):
    """A run that torchrun did is read, not repeated, by one that starts its own processes."""
    script = tmp_path / "script.py"
    script.write_text(TORCHRUN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(TESTS), str(tmp_path / "run")], check=True, env=environment)
    steps: list[int] = []
    found = train(training_data(), settings(), TWO, tmp_path / "run", lambda done, total, note="": steps.append(done))
    assert steps == []
    whole = train(training_data(), settings(), TWO, tmp_path / "whole")
    for name, tensor in whole.objective.state_dict().items():
        assert torch.equal(tensor, found.objective.state_dict()[name]), name
