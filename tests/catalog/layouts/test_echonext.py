"""EchoNext as published: which row is whose, its millivolts by the constants, its findings, its refusals."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data_contracts.conventions import LEADS
from echoingecg.catalog.build import build
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.scan import Scan, scan
from echoingecg.common import ExportError
from echoingecg.ecg.decode import decode
from echoingecg.ecg.decode.recording import arrange
from echoingecg.recipe import CatalogSettings
from helpers.cases.echonext import CONSTANTS, FLAGS, METADATA, ORDER, ecg, echonext_export, row, truth
from helpers.cases.hospital import KEY, write_csv


def catalogued(export: Path, **constants: object) -> tuple[Scan, dict[str, pa.Table]]:
    seen = scan(export, CatalogSettings.model_validate({"standardised": CONSTANTS | constants}), KEY)
    return seen, build(seen, KEY)


@pytest.mark.parametrize("folder", ["", "echonext/1.1.1", "physionet.org/files/echonext/1.1.1"])
def test_each_ecg_has_its_own_signal_findings_and_patient(tmp_path: Path, folder: str) -> None:
    rows = [one for one in echonext_export(tmp_path / folder) if one["split"] != "no_split"]
    seen, tables = catalogued(tmp_path)
    assert seen.layout.name == "echonext"
    path_of = {one["source_id"]: tmp_path / one["path"] for one in seen.sources.to_pylist()}
    ecgs = {one["record_id"]: one for one in tables["ecgs"].to_pylist()}
    stated = {(one["record_id"], one["measurement"]): one for one in tables["measurements"].to_pylist()}
    groups = {one["record_id"]: one for one in tables["subgroups"].to_pylist()}
    assert len(ecgs) == len(rows) == 6
    assert tables["quarantine"].num_rows == 0
    for one in rows:
        patient = f"8:EchoNext\x1f{one['patient_key']}"
        record, number = Pseudonyms(KEY).record(patient, one["ecg_key"]), int(one["ecg_key"][1:])
        listed = ecgs[record]
        leads = listed["stated_leads"].split(";")
        read = decode(path_of[listed["source_id"]], listed["stated_unit"], listed["stated_sampling_frequency"], leads)
        expected = truth(ecg(number)).T[[ORDER.index(lead) for lead in LEADS]]
        np.testing.assert_allclose(arrange(read), expected, atol=1e-9)
        assert (read.sampling_frequency, read.format) == (250, "NumPy")
        assert {flag: stated[record, flag]["value"] for flag in FLAGS} == dict.fromkeys(FLAGS, number % 2)
        assert (stated[record, "lvef_value"]["value"], stated[record, "lvef_value"]["unit"]) == (
            55 - 20 * (number % 2),
            "%",
        )
        words = {"train": "train", "val": "validation", "test": "test"}
        assert stated[record, "split"]["words"] == words[one["split"]]
        assert (record, "ivs_measurement") not in stated
        assert (record, "pasp_value") not in stated
        assert (groups[record]["sex"], groups[record]["age"]) == ("FM"[number % 2], 61)
    hours = Counter(one["hours"] for one in ecgs.values())
    assert hours.keys() == {0.0, 365 * 24.0}, "a year and no time: whole years lie between ECGs"


def test_without_constants_one_line_says_what_is_missing(tmp_path: Path) -> None:
    echonext_export(tmp_path)
    with pytest.raises(ExportError, match=r"6 ECGs are standardised.*catalog.standardised.*cohorts.md") as fault:
        scan(tmp_path, CatalogSettings(), KEY)
    assert "\n" not in str(fault.value)
    with pytest.raises(ExportError, match=r"catalog.standardised.unit: the amplitude unit is not V"):
        catalogued(tmp_path, unit="steps")


def test_other_constants_make_other_ecgs(tmp_path: Path) -> None:
    echonext_export(tmp_path)
    keys = [set(catalogued(tmp_path, unit=unit)[1]["ecgs"]["content_hash"].to_pylist()) for unit in ("4.88 uV", "5 uV")]
    assert not keys[0] & keys[1]


def test_a_split_of_another_length_is_refused_and_the_others_stand(tmp_path: Path) -> None:
    rows = echonext_export(tmp_path)
    write_csv(tmp_path / METADATA, [*rows, row(20, "val"), {**row(21, "test"), "acquisition_year": ""}])
    tables = catalogued(tmp_path)[1]
    assert (
        Counter(one["detail"] for one in tables["quarantine"].to_pylist())[
            "an array of 2 ECGs for a table of 3: which is whose is not known"
        ]
        == 5
    )
    assert tables["ecgs"].num_rows == 2


def test_an_array_that_is_missing_and_one_of_objects(tmp_path: Path) -> None:
    echonext_export(tmp_path)
    (tmp_path / "EchoNext_val_waveforms.npy").unlink()
    np.save(tmp_path / "EchoNext_test_waveforms.npy", np.array([None, None]), allow_pickle=True)
    tables = catalogued(tmp_path)[1]
    reasons = Counter(one["reason"] for one in tables["quarantine"].to_pylist())
    assert reasons == {"missing_file": 2, "unreadable": 2}
