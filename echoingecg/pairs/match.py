"""ECG-echo and ECG-text pairs, labels and the patient split (EchoingECG, section 3: data)."""

import pandas as pd
import pyarrow as pa

from data_contracts.pairs import ECG_ECHO, ECG_TEXT, FILTERS, LABELS, PATIENTS, check_no_leakage
from data_contracts.tables import TableContract
from echoingecg.pairs.labels import study_labels
from echoingecg.pairs.nearest import nearest_in_time
from echoingecg.pairs.split import split_of
from echoingecg.pairs.steps import Steps
from echoingecg.recipe.stages import PairsSettings


def build(
    ecgs: pa.Table,
    echoes: pa.Table,
    reports: pa.Table,
    measurements: pa.Table,
    records: pa.Table,
    studies: pa.Table,
    settings: PairsSettings,
) -> dict[str, pa.Table]:
    """All tables of the pairs artefact; the same inputs in any row order give the same tables.

    A study's time is that of its earliest clip.

    Args:
        ecgs, echoes, reports, measurements: tables of the catalog artefact.
        records: RECORDS of the ecg artefact: the usable ECGs.
        studies: STUDIES of the teacher artefact: the studies with a target.
        settings: windows, text methods, split.

    Returns:
        Table by name: patients, ecg_echo, ecg_text, labels, filters.

    Raises:
        ContractError: a table breaks its contract, or a patient would stand on two sides of the split.
    """
    recordings = frame_of(ecgs, "record_id", "patient_id", "hours").rename(columns={"record_id": "recording_id"})
    usable = recordings.merge(frame_of(records, "recording_id", "record_id"), on="recording_id")
    listed = studies_listed(echoes)
    with_target = listed.merge(frame_of(studies, "study_id", "patient_id"), on=["study_id", "patient_id"])

    steps = [Steps("ecg_echo"), Steps("ecg_text"), Steps("labels")]
    ecg_echo = _ecg_echo(listed, with_target, usable, settings, steps[0])
    ecg_text = _ecg_text(frame_of(reports), usable, ecg_echo, settings, steps[1])
    labels = study_labels(frame_of(measurements), listed, with_target, settings.measurement_window_hours, steps[2])

    patients = pd.DataFrame({"patient_id": sorted({*usable["patient_id"], *with_target["patient_id"]})}, dtype="str")
    sides = {one: split_of(one, settings.split_key, settings.split) for one in patients["patient_id"]}
    tables = {
        contract.name: _table(contract, frame.assign(split=frame["patient_id"].map(sides)))
        for contract, frame in ((PATIENTS, patients), (ECG_ECHO, ecg_echo), (ECG_TEXT, ecg_text), (LABELS, labels))
    }
    tables[FILTERS.name] = FILTERS.build([row for one in steps for row in one.rows])
    check_no_leakage(tables[PATIENTS.name], tables[ECG_ECHO.name], tables[ECG_TEXT.name])
    return tables


def _ecg_echo(
    listed: pd.DataFrame, with_target: pd.DataFrame, usable: pd.DataFrame, settings: PairsSettings, steps: Steps
) -> pd.DataFrame:
    """Each study with its nearest usable recording, and that with each of its signals.

    Columns `study_id`, `patient_id`, `hours`, `recording_id`, `gap_hours`, `record_id`.
    """
    steps.keep("studies listed", listed)
    steps.keep("the study has a teacher target", with_target)
    known = steps.keep(
        "the patient has a usable ECG", with_target[with_target["patient_id"].isin(usable["patient_id"])]
    )
    near = nearest_in_time(known, usable, "recording_id", settings.window_hours)
    return steps.keep("an ECG is within the window", near.merge(usable[["recording_id", "record_id"]]))


def _ecg_text(
    reports: pd.DataFrame, usable: pd.DataFrame, ecg_echo: pd.DataFrame, settings: PairsSettings, steps: Steps
) -> pd.DataFrame:
    """Each usable ECG with its own report, and each paired ECG with the reports of its echo study."""
    steps.keep("reports listed", reports)
    asked = steps.keep("the recipe asks for the method", reports[reports["method"].isin(settings.text_methods)])
    worded = steps.keep("the text is not blank", asked[asked["text"].str.strip() != ""])
    subjects = pd.concat(
        [
            usable.assign(method="ECG", subject_id=usable["recording_id"]),
            ecg_echo.assign(method="ECHO", subject_id=ecg_echo["study_id"]),
        ]
    )[["method", "subject_id", "patient_id", "record_id"]]
    paired = worded.merge(subjects, on=["method", "subject_id", "patient_id"])
    return steps.keep("it is about a usable ECG or a paired study of the patient", paired)


def studies_listed(echoes: pa.Table) -> pd.DataFrame:
    """Every study of the catalog at the time of its earliest clip: `study_id`, `patient_id`, `hours`."""
    clips = frame_of(echoes, "study_id", "patient_id", "hours")
    return clips.groupby(["study_id", "patient_id"], as_index=False)["hours"].min()


def frame_of(table: pa.Table, *columns: str) -> pd.DataFrame:
    """Some columns of a table, or all of them."""
    return table.select(list(columns) or table.column_names).to_pandas()


def _table(contract: TableContract, frame: pd.DataFrame) -> pa.Table:
    """The contract's columns, sorted by its unique ones."""
    rows = frame.sort_values(list(contract.unique))[contract.schema.names]
    return contract.check(pa.Table.from_pandas(rows, schema=contract.schema, preserve_index=False))
