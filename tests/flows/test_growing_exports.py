"""A hospital that changes, delivered to a real server with `serve`: every retrain decides rightly, without a hand."""

import csv
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import wfdb
from sklearn.metrics import roc_auc_score

from data_contracts.evaluation import PREDICTIONS
from data_contracts.monitoring import Decision
from data_contracts.pairs import PATIENTS
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.recipe import Recipe, write_recipe
from echoingecg.simulator.export import simulate
from flows.request import find_recipe
from helpers.servers.prefect_server import Server, served, wait_for
from tasks.base.workspace import Workspace
from tasks.store import ArtefactStore

Row = dict[str, str]
MOST_PATIENTS = 30
KEY = b"a secret key of thirty-two by239"  # the split hangs on it
ECGS, MACHINE = "mimic-iv-ecg/record_list.csv", "mimic-iv-ecg/machine_measurements.csv"
MEASURED = "mimic-iv-echo/structured_measurement.csv"
SETTINGS = [
    "catalog.public_key=''",
    "simulator.real_recordings=false",
    f"simulator.patients={MOST_PATIENTS}",
    "teacher.frame_stride=6",
    "pairs.split={train: 0.45, validation: 0.15, test: 0.4}",
    "student.epochs=1",
    "student.batch_size=4",
    "evaluation.bootstrap_draws=10",
    "evaluation.tuning.methods=[]",
    "promotion={least_gain: -0.3, most_loss: 1.0, draws: 50}",
]


def with_one_question(recipe: Recipe) -> Recipe:
    """Asks for LVEF below its middle alone: of so few patients, other questions have no test patient of one class."""
    (lvef, *_), settings = recipe.evaluation.endpoints, recipe.evaluation
    asked = settings.model_copy(update={"endpoints": (lvef.model_copy(update={"threshold": 60.0}),)})
    return recipe.model_copy(update={"evaluation": asked})


class Hospital:
    """Delivers exports, each with what the last one held; changes of its tables and files stay."""

    def __init__(self, source: Path, inbox: Path) -> None:
        self.source, self.inbox = source, inbox
        self.patients = list(dict.fromkeys(row["subject_id"] for row in self.rows(ECGS)))

    def rows(self, table: str) -> list[Row]:
        with (self.source / table).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def change(self, table: str, edit: Callable[[list[Row]], list[Row]]) -> None:
        write(self.source / table, edit(self.rows(table)))

    def deliver(self, name: str, patients: int) -> Path:
        """An export of the first patients, complete."""
        folder, chosen = self.inbox / f"{name}.partial", set(self.patients[:patients])
        folder.mkdir(parents=True)
        for path in sorted(self.source.rglob("*")):
            target = folder / path.relative_to(self.source)
            if path.is_dir():
                target.mkdir(parents=True)
            elif path.suffix == ".csv":
                write(
                    target,
                    [row for row in self.rows(str(path.relative_to(self.source))) if row["subject_id"] in chosen],
                )
            else:
                os.link(path, target)
        return folder

    def finish(self, folder: Path) -> None:
        (folder / "_COMPLETE").touch()
        folder.rename(folder.with_suffix(""))


def write(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def add_ecg_near_the_echo(hospital: Hospital, patient: str) -> None:
    """One more ECG of the patient, a minute after the echo: the signal of an earlier one, a little smaller."""
    (measured, *_) = [row for row in hospital.rows(MEASURED) if row["subject_id"] == patient]
    time = datetime.fromisoformat(measured["measurement_datetime"]) + timedelta(minutes=1)
    (earlier, *_) = [row for row in hospital.rows(ECGS) if row["subject_id"] == patient]
    study, record = "49999999", wfdb.rdrecord(str(hospital.source / "mimic-iv-ecg" / earlier["path"]))
    path = f"files/p1000/p{patient}/s{study}/{study}"
    (folder := (hospital.source / "mimic-iv-ecg" / path).parent).mkdir(parents=True)
    wfdb.wrsamp(study, fs=record.fs, units=record.units, sig_name=record.sig_name, p_signal=record.p_signal * 0.97,
                fmt=record.fmt, adc_gain=record.adc_gain, baseline=record.baseline, write_dir=str(folder))  # fmt: skip
    new = {"study_id": study, "ecg_time": str(time)}
    hospital.change(ECGS, lambda rows: [*rows, earlier | new | {"file_name": study, "path": path}])
    (machine, *_) = [row for row in hospital.rows(MACHINE) if row["study_id"] == earlier["study_id"]]
    hospital.change(MACHINE, lambda rows: [*rows, machine | new])


def withdraw(hospital: Hospital, patient: str) -> None:
    for path in sorted(hospital.source.rglob("*.csv")):
        table = str(path.relative_to(hospital.source))
        hospital.change(table, lambda rows: [row for row in rows if row["subject_id"] != patient])


def turn_label(hospital: Hospital, patient: str) -> None:
    def edit(rows: list[Row]) -> list[Row]:
        return [
            row | {"result": "45" if float(row["result"]) >= 60 else "65"}
            if (row["subject_id"], row["measurement"]) == (patient, "lvef")
            else row
            for row in rows
        ]

    hospital.change(MEASURED, edit)


def ended(server: Server, export: str) -> dict[str, Any]:
    """The state of the retrain on an export, once it has ended."""
    endings: list[dict[str, Any]] = []

    def is_there() -> bool:
        runs = server.post("flow_runs/filter", {"flows": {"name": {"any_": ["retrain"]}}})
        states = [run["state"] for run in runs if run["state"]["type"] in ("COMPLETED", "FAILED")]
        endings.extend(state for state in states if str(state["message"]).startswith(f"{export}"))
        return bool(endings)

    server.prefect("event", "emit", "echoingecg.export.landed", "--resource-id", "echoingecg.export.hospital")
    wait_for(is_there, f"the retrain on {export}", 400)
    return endings[0]


def sides_of(folder: Path) -> dict[str, str]:
    table = PATIENTS.read(folder)
    return dict(zip(table["patient_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def rows_judged(store: ArtefactStore, evaluation: str) -> pd.DataFrame:
    table = PREDICTIONS.read(store.get(evaluation).folder).to_pandas()
    return table[(table["protocol"] == "zero_shot") & (table["split"] == "test")]


def check_decision(store: ArtefactStore, decision: Decision) -> None:
    """The numbers of a decision against a plain join and scikit-learn, the verdict against the rule as documented."""
    champion, challenger = (rows_judged(store, name) for name in (decision.champion, decision.challenger))
    lows = []
    for compared, labels in zip(decision.compared, decision.labels, strict=True):
        old, new = (
            table[table["endpoint"] == compared.endpoint].set_index("record_id") for table in (champion, challenger)
        )
        shared = old.index.intersection(new.index)
        assert (labels.champion, labels.shared, labels.added) == (len(old), len(shared), len(new) - len(shared))
        assert labels.changed == int((old.loc[shared, "label"] != new.loc[shared, "label"]).sum())
        assert labels.absent_patients == len(set(old["patient_id"]) - set(new["patient_id"]))
        truth = new.loc[shared, "label"]
        for side, value in ((old, compared.champion), (new, compared.challenger)):
            if truth.nunique() == 2:
                assert value == pytest.approx(roc_auc_score(truth, side.loc[shared, "score"]))
            else:
                assert value is None
        lows.append(compared.low)
    rule = decision.rule
    if any(row.shared < rule["least_shared"] * row.champion for row in decision.labels):
        assert decision.verdict == "frozen"
    elif None in lows:
        assert decision.verdict == "keep"
    else:
        better = lows[0] > rule["least_gain"] and all(low > -rule["most_loss"] for low in lows[1:])
        assert decision.verdict == ("promote" if better else "keep")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_changing_hospital_needs_no_hand(tmp_path: Path) -> None:
    recipe = with_one_question(find_recipe("smoke", SETTINGS))
    (file := tmp_path / "growing.yaml").write_text(write_recipe(recipe))
    (inbox := tmp_path / "inbox").mkdir()
    assert recipe.simulator is not None
    simulate(recipe.simulator, tmp_path / "hospital")
    hospital = Hospital(tmp_path / "hospital", inbox)
    place = Workspace(tmp_path / "workspace")
    place.private.mkdir(parents=True, mode=0o700)
    (place.private / "pseudonym.key").write_bytes(KEY)
    store = ArtefactStore(place)
    arguments = (str(file), "--workspace", str(place.root), "--inbox", str(inbox), "--cron", "0 3 1 1 *")
    states: dict[str, dict[str, Any]] = {}
    decisions: dict[str, Decision] = {}
    champions: list[str] = []

    def run(server: Server, name: str) -> str:
        known = set(place.decisions.glob("*.json"))
        states[name] = ended(server, name)
        new = set(place.decisions.glob("*.json")) - known
        print(name, states[name]["name"], states[name]["message"], sep="\n  ")  # noqa: T201 - seen with pytest -s
        if new:
            (path,) = new
            decisions[name] = Decision.model_validate_json(path.read_bytes())
        champions.append(store.aliases()["production"])
        return str(states[name]["message"])

    with served(tmp_path, *arguments) as server:
        hospital.finish(hospital.deliver("1-first", 24))
        run(server, "1-first")
        sides = sides_of(store.published("pairs")[0].folder)
        by_side = {raw: sides.get(Pseudonyms(KEY).patient(raw)) for raw in hospital.patients[:24]}
        nearer, gone, corrected = [raw for raw, side in by_side.items() if side == "test"][:3]

        add_ecg_near_the_echo(hospital, nearer)
        hospital.finish(hospital.deliver("2-nearer", 25))
        assert " gone)" not in run(server, "2-nearer").partition("patients in pairs")[0]
        withdraw(hospital, gone)
        hospital.patients.remove(gone)
        hospital.finish(hospital.deliver("3-withdrawn", 25))
        assert "1 gone" in run(server, "3-withdrawn")
        turn_label(hospital, corrected)
        hospital.finish(hospital.deliver("4-corrected", 26))
        run(server, "4-corrected")
        hospital.finish(hospital.deliver("5-renamed", 26))
        assert "0 new and " in run(server, "5-renamed")
        shrunk = hospital.deliver("6-shrunk", 27)
        ecgs = hospital.rows(ECGS)
        write(shrunk / ECGS, [row for row in ecgs if row["subject_id"] in set(hospital.patients[:27])][:-15])
        hospital.finish(shrunk)
        run(server, "6-shrunk")
        half = hospital.deliver("7-half", 27)
        for header in sorted((half / "mimic-iv-ecg").rglob("*.dat"))[::3]:
            header.unlink()
        hospital.finish(half)
        run(server, "7-half")
        (broken := inbox / "8-broken.partial").mkdir()
        hospital.finish(broken)
        run(server, "8-broken")
        hospital.finish(hospital.deliver("9-whole", 28))
        run(server, "9-whole")

    trained = ["1-first", "2-nearer", "3-withdrawn", "4-corrected", "9-whole"]
    assert {name: state["name"] for name, state in states.items()} == {
        **dict.fromkeys(states, "Completed"),
        "5-renamed": "NothingNew",
        **dict.fromkeys(["6-shrunk", "7-half", "8-broken"], "SetAside"),
    }
    assert "execution.max_gone_share=0.1" in states["6-shrunk"]["message"]
    assert "ECGs refused, over the recipe's catalog.max_refused_share" in states["7-half"]["message"]
    assert len(store.published("student")) == len(trained)
    assert list(decisions) == trained

    first = decisions.pop("1-first")
    assert (first.verdict, first.champion) == ("promote", "")
    for decision in decisions.values():
        check_decision(store, decision)
    for before, after, name in zip(champions, champions[1:], list(states)[1:], strict=False):
        decision = decisions.get(name)
        assert after == (decision.challenger if decision and decision.verdict == "promote" else before)
    lvef = {name: decision.labels[0] for name, decision in decisions.items()}
    assert (lvef["2-nearer"].vanished, lvef["2-nearer"].absent_patients) == (1, 0), "its label is another ECG's now"
    assert lvef["3-withdrawn"].absent_patients >= 1
    assert lvef["4-corrected"].changed >= 1

    placed = [sides_of(artefact.folder) for artefact in store.published("pairs")]
    for before, after in pairwise(placed):
        assert all(after[patient] == side for patient, side in before.items() if patient in after)
        assert len(before.keys() - after.keys()) <= 1
