"""Sex, age, site, device and rhythm: as the export states them, and not otherwise."""

from pathlib import Path

from echoingecg.catalog.layouts.base import patient_of_site
from echoingecg.catalog.pseudonyms import Pseudonyms
from helpers.cases.hospital import KEY, generic_export, mimic_export, read_csv, refused, rows, tables_of, write_csv


def test_subgroups_are_those_the_export_states(tmp_path: Path) -> None:
    export = generic_export(tmp_path, 6)
    listed = read_csv(export / "ecgs.csv")
    stated = [
        {"sex": "f", "age": "93", "site": "North", "device": "MAC 7", "rhythm": "Sinus rhythm"},
        {"sex": "M", "age": "", "site": "North", "device": "", "rhythm": ""},
        {"sex": "", "age": "", "site": "North", "device": "", "rhythm": ""},
        {"sex": "male", "age": "50", "site": "North", "device": "", "rhythm": ""},
        {"sex": "F", "age": "fifty", "site": "North", "device": "", "rhythm": ""},
        {"sex": "F", "age": "50", "site": "North", "device": "", "rhythm": "seen by Dr. Smith, 12.3."},
    ]
    write_csv(export / "ecgs.csv", [row | more for row, more in zip(listed, stated, strict=True)])
    for name in ("echoes.csv", "reports.csv", "measurements.csv"):
        write_csv(export / name, [row | {"site": "North"} for row in read_csv(export / name)])
    tables = tables_of(export)
    assert tables["ecgs"].num_rows == 6, "a faulty statement costs no ECG"
    names = Pseudonyms(KEY)
    found = {row.pop("record_id"): row for row in rows(tables["subgroups"])}
    nothing = dict.fromkeys(("sex", "age", "site", "device", "rhythm")) | {"site": names.site("North")}
    first, second, third = (patient_of_site("North", f"PAT000{number}") for number in range(3))
    assert found == {
        names.record(first, "1"): {
            "sex": "F",
            "age": 90.0,
            "site": names.site("North"),
            "device": names.device("MAC 7"),
            "rhythm": "sinus rhythm",
        },
        names.record(second, "1"): nothing | {"sex": "M"},
        names.record(third, "1"): nothing,
    }
    assert refused(export) == ["bad_row"] * 3


def test_mimic_states_the_device_and_the_rhythm_its_report_begins_with(tmp_path: Path) -> None:
    export = mimic_export(tmp_path)
    path = next(export.rglob("machine_measurements.csv"))
    machine = [row | {"cart_id": "681"} for row in read_csv(path)]
    machine[0]["report_0"] = "Atrial fibrillation with rapid ventricular response"
    machine[1]["report_0"] = "Sinusoidal artefact"
    write_csv(path, machine)
    names = Pseudonyms(KEY)
    found = {row["record_id"]: row for row in rows(tables_of(export)["subgroups"])}
    wanted = [names.record(row["subject_id"], row["study_id"]) for row in machine[:2]]
    assert [found[one]["rhythm"] for one in wanted] == ["atrial fibrillation", None]
    assert {row["device"] for row in found.values()} == {names.device("681")}
    assert {row["sex"] for row in found.values()} == {None}
