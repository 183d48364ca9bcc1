"""The reader against the evaluation that its card comes from, and against every real recording."""

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest

from data_contracts.prediction import GAUSSIANS, NUMBERS, READINGS
from echoingecg.common import Refusal, UserError
from echoingecg.ecg.process import process
from echoingecg.prediction.predictor import Reader
from helpers.ecg.expected_recordings import present

COMPARED = [
    "score", "probability", "low", "high", "uncertainty", "uncertainty_percentile", "typicality",
    "typicality_percentile",
]  # fmt: skip


def test_every_real_recording_is_answered_or_refused_with_its_reason(reader: Reader, recordings: Path) -> None:
    rows_expected = present(recordings)
    files = [str(recordings / row.path) for row in rows_expected]
    table = READINGS.check(reader.predict(files).readings)
    rows: dict[str, list[dict]] = {file: [] for file in files}
    for row in table.to_pylist():
        rows[row["file"]].append(row)
    read = 0
    for file, expected in zip(files, rows_expected, strict=True):
        found = rows[file]
        if found[0]["reason"]:
            with pytest.raises(Refusal) as refusal:
                process(Path(file), reader.settings)
            assert [(row["reason"], row["detail"]) for row in found] == [(refusal.value.reason, refusal.value.detail)]
            assert found[0]["probability"] is None
        else:
            read += 1
            assert not expected.reason
            assert [row["endpoint"] for row in found] == ["LVEF below 50 %", "LVEF below 60 %"]
            for row in found:
                assert 0 <= row["low"] <= row["probability"] <= row["high"] <= 1
    assert read > len(files) / 3


@pytest.mark.parametrize("protocol", ["expected_echo", "zero_shot", "zero_shot_teacher", "linear_probe"])
def test_the_evaluation_gave_the_same_numbers(judgement, reader: Reader, protocol: str) -> None:
    table = reader.predict(judgement.files, protocol).readings.to_pandas()
    number = dict(zip(judgement.inputs.record_ids, judgement.files, strict=True))
    found = table.set_index(["file", "endpoint"])
    judged = judgement.predictions[judgement.predictions["protocol"] == protocol]
    assert len(judged) > 100
    for row in judged.itertuples():
        ours = found.loc[(number[row.record_id], row.endpoint)]
        assert ours["score"] == pytest.approx(row.score, abs=1e-6)
        assert ours["probability"] == pytest.approx(row.probability, abs=1e-4)  # a calibrator may be steep
        assert ours["typicality"] == pytest.approx(row.typicality, rel=1e-4)
        if protocol == "expected_echo":
            assert ours["uncertainty"] == pytest.approx(row.deviation, rel=1e-4)
        else:
            assert np.isnan(ours["uncertainty"])
            assert row.deviation == 0
        assert (ours["decision"], ours["advice"]) == (row.decision, row.advice)
        assert row.is_answerable == (not {"finding", "not typical"} & set(ours["doubts"]))
        assert (len(ours["doubts"]) > 0) == (row.advice == "refer")
    assert judged[judged["split"] == "test"]["advice"].nunique() == 2


def test_the_evaluation_gave_the_same_values(judgement, reader: Reader) -> None:
    files = [*judgement.files, "nowhere.hea"]
    table = NUMBERS.check(reader.predict(files).numbers)
    assert table["file"].to_pylist() == files
    assert table["reason"].to_pylist()[-1] == "missing_file"
    rows = dict(zip(judgement.inputs.record_ids, table.to_pylist(), strict=False))
    (result,) = judgement.numbers
    assert len(result.record_id) > 70
    for place, name in enumerate(result.record_id):
        row = rows[name]
        assert (row["number"], row["unit"], row["advice"]) == ("LVEF", "%", result.answers["advice"][place])
        assert row["value"] == pytest.approx(result.predicted["expected_number"][place], rel=1e-4)
        for column in ("low", "high", "deviation"):
            assert row[column] == pytest.approx(result.answers[column][place], rel=1e-4)
        assert (row["doubts"] == []) == (row["advice"] == "predict")


def test_order_company_and_blocks_do_not_matter(judgement, reader: Reader) -> None:
    files = judgement.files[:20]
    together = reader.predict(files).readings.to_pandas().set_index(["file", "endpoint"])
    backwards = reader.predict([*files[::-1], "nowhere.hea"]).readings.to_pandas().set_index(["file", "endpoint"])
    for file in files:
        alone = reader.predict([file]).readings.to_pandas().set_index(["file", "endpoint"])
        for other in (together, backwards):
            chosen = other.loc[alone.index]
            np.testing.assert_allclose(chosen[COMPARED], alone[COMPARED], atol=1e-5)  # a calibrator may be steep
            assert (chosen[["decision", "advice"]] == alone[["decision", "advice"]]).all(axis=None)


def test_rows_come_in_the_order_of_the_files(judgement, reader: Reader) -> None:
    files = [judgement.files[3], "nowhere", judgement.files[1]]
    assert list(dict.fromkeys(reader.predict(files).readings["file"].to_pylist())) == files
    assert pc.count(reader.predict(files).readings["reason"]).as_py() == 1


def test_gaussians_are_the_students(judgement, reader: Reader) -> None:
    table = GAUSSIANS.check(reader.embed([*judgement.files[:3], "nowhere"]))
    signals = judgement.inputs.signals.values[:3]
    for column, expected in zip(("mean", "log_var"), reader.student.embed_ecg(signals), strict=True):
        np.testing.assert_allclose(table[column].to_pylist()[:3], expected, atol=1e-6)
    assert table["reason"].to_pylist() == [None, None, None, "missing_file"]


def test_a_file_that_surprises_its_decoder_is_a_row(judgement, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    from echoingecg.prediction import predictor as signals

    load = signals.load

    def surprised(path: Path, *others: object, **named: object) -> object:
        if path.name == "1.hea":
            raise ZeroDivisionError
        if path.name == "2.hea":
            raise PermissionError(13, "Permission denied")
        return load(path, *others, **named)

    monkeypatch.setattr(signals, "load", surprised)
    rows = reader.predict(judgement.files[:4]).readings.to_pylist()
    refused = {Path(row["file"]).name: row["detail"] for row in rows if row["reason"]}
    assert refused == {"1.hea": "unexpected ZeroDivisionError", "2.hea": "cannot be opened: Permission denied"}


def test_an_unknown_protocol_is_named_with_those_there_are(reader: Reader) -> None:
    known = "zero_shot, zero_shot_teacher, expected_echo, linear_probe"
    with pytest.raises(UserError, match=f"'tea_leaves': this evaluation knows {known}"):
        reader.predict(["x"], "tea_leaves")
