"""Synthetic pairs with a shared latent: ECG, target and text of a patient say the same, with noise."""

import numpy as np

from echoingecg.recipe import ExecutionSettings, ModelSettings, StudentSettings
from echoingecg.student.data.pairs import EchoPairs, Pairs, TextPairs, TrainingData

DIM = 16
ONE_THREAD = ExecutionSettings(device="cpu", threads=1)


class ArraySignals:
    """Signals held in memory."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def read(self, rows: np.ndarray) -> np.ndarray:
        return self.array[rows]


def settings(**changes: object) -> StudentSettings:
    model = ModelSettings(
        embed_dim=DIM,
        init_dim=2,
        width_factors=(2, 4),
        blocks=(1, 1),
        gpo_dim=8,
        text="built-in",
        text_width=16,
        text_layers=1,
        text_heads=2,
        text_tokens=30,
        log_var_start=float(np.log(1 / DIM)),
    )
    values = {
        "model": model,
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "precision": "float32",
        "checkpoint_steps": 2,
        "patience": 100,
    }
    return StudentSettings(**(values | changes))


def training_data(patients: int = 40, held_out: int = 10, seed: int = 0, samples: int = 100) -> TrainingData:
    random = np.random.default_rng(seed)
    latent = random.normal(size=(patients, 3)).astype(np.float32)
    leads = random.normal(size=(12, 3)).astype(np.float32)
    noise = random.normal(size=(patients, 12, samples)).astype(np.float32)
    signal = (latent @ leads.T)[:, :, None] + noise
    mean = latent @ random.normal(size=(3, DIM)).astype(np.float32)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    log_var = np.full((patients, DIM), np.log(0.1 / DIM), np.float32)
    words = [" ".join(f"{name} {round(float(v) * 10)}." for name, v in zip("abc", row, strict=True)) for row in latent]

    def side(ids: np.ndarray) -> Pairs:
        text = tuple(words[one] for one in ids)
        methods = ("ECG",) * len(ids) + ("ECHO",) * len(ids)
        return Pairs(EchoPairs(ids, ids), TextPairs(np.concatenate([ids, ids]), text + text, methods))

    ids = np.arange(patients)
    return TrainingData(ArraySignals(signal), mean, log_var, side(ids[held_out:]), side(ids[:held_out]))
