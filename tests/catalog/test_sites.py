"""Sites that number their patients alike: nobody is merged, nothing is matched across, and growth moves nobody."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoingecg.catalog.layouts.base import patient_of_site
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.common import ExportError, UserError
from echoingecg.pairs.label_file import read_label_file
from echoingecg.pairs.split import assign_split
from echoingecg.recipe.stages import SplitShares
from helpers.cases.hospital import (
    KEY,
    generic_export,
    read_csv,
    rows,
    tables_of,
    write_csv,
    write_ecg,
    write_echo,
)

TABLES = ("ecgs.csv", "echoes.csv", "reports.csv", "measurements.csv")
NAMES = Pseudonyms(KEY)
Rows = list[dict[str, Any]]


def change(export: Path, name: str, changed: Callable[[Rows], Rows]) -> None:
    write_csv(export / name, changed(read_csv(export / name)))


def two_sites(root: Path, patients: int = 3) -> Path:
    """Two hospitals in one export: the same numbers of patients, ECGs, studies and reports; other files and values."""
    export = generic_export(root, patients)
    for number in range(patients):
        write_ecg(root / f"signals/south{number}", 100 + number)
        write_echo(root / f"clips/south{number}.dcm", 100 + number)
    for name in TABLES:
        north = [row | {"site": "North"} for row in read_csv(export / name)]
        south = [row | {"site": "South"} for row in read_csv(export / name)]
        for row in south:
            if "path" in row:
                row["path"] = row["path"].replace("rec", "south").replace("clip", "south").replace("souths/", "clips/")
            if "value" in row:
                row["value"] = str(float(row["value"]) - 30)
        write_csv(export / name, north + south)
    return export


def by_patient(table: Any, *columns: str) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows(table):
        found.setdefault(row["patient_id"], []).append(tuple(row[name] for name in columns))
    return found


def test_equal_numbers_at_two_sites_are_two_patients(tmp_path: Path) -> None:
    tables = tables_of(two_sites(tmp_path))
    assert tables["quarantine"].num_rows == 0
    wanted = {NAMES.patient(patient_of_site(site, f"PAT{at:04d}")) for site in ("North", "South") for at in range(3)}
    assert len(wanted) == 6
    for name in ("ecgs", "echoes", "reports", "measurements"):
        assert set(tables[name]["patient_id"].to_pylist()) == wanted, name
    values = by_patient(tables["measurements"], "value")
    for at in range(3):
        for site, value in (("North", 55 + at), ("South", 25 + at)):
            assert values[NAMES.patient(patient_of_site(site, f"PAT{at:04d}"))] == [(value,)]
    reports = {(row["patient_id"], row["subject_id"]) for row in rows(tables["reports"])}
    subjects = {(row["patient_id"], row["record_id"]) for row in rows(tables["ecgs"])}
    subjects |= {(row["patient_id"], row["study_id"]) for row in rows(tables["echoes"])}
    assert reports == subjects
    assert len({row["record_id"] for row in rows(tables["ecgs"])}) == 6
    assert {row["site"] for row in rows(tables["subgroups"])} == {NAMES.site("North"), NAMES.site("South")}


def test_each_site_alone_gives_the_same_pseudonyms(tmp_path: Path) -> None:
    """Two exports, one workspace key: what each export holds alone is what both hold together."""
    both = tables_of(two_sites(tmp_path / "both"))
    alone = []
    for site in ("North", "South"):
        export = two_sites(tmp_path / site)
        for name in TABLES:
            change(export, name, lambda listed, site=site: [row for row in listed if row["site"] == site])
        alone.append(tables_of(export))
    for name in ("ecgs", "echoes", "reports", "measurements", "subgroups"):
        parts = [rows(tables[name]) for tables in alone]
        owners = [{row.get("patient_id", row.get("record_id")) for row in part} for part in parts]
        assert not owners[0] & owners[1], name
        key = lambda row: sorted(map(str, row.items()))  # noqa: E731
        assert sorted(parts[0] + parts[1], key=key) == sorted(rows(both[name]), key=key), name


def test_growth_moves_nobody_to_another_side(tmp_path: Path) -> None:
    small, large = (tables_of(two_sites(tmp_path / str(count), count)) for count in (2, 4))
    shares = SplitShares(train=0.5, validation=0.2, test=0.3)
    sides = [
        {patient: assign_split(patient, "echoingecg", shares) for patient in tables["ecgs"]["patient_id"].to_pylist()}
        for tables in (small, large)
    ]
    assert len(sides[0]) == 4
    assert sides[0].items() < sides[1].items()


def test_without_sites_pseudonyms_are_as_before(tmp_path: Path) -> None:
    """An empty column is no statement."""
    plain = tables_of(generic_export(tmp_path / "plain"))
    empty = generic_export(tmp_path / "empty")
    for name in TABLES:
        change(empty, name, lambda listed: [row | {"site": ""} for row in listed])
    tables = tables_of(empty)
    assert set(plain["ecgs"]["patient_id"].to_pylist()) == {NAMES.patient(f"PAT{at:04d}") for at in range(3)}
    for name in ("ecgs", "echoes", "reports", "measurements"):
        assert tables[name].drop_columns("patient_id").num_rows == plain[name].num_rows
        assert set(tables[name]["patient_id"].to_pylist()) == set(plain[name]["patient_id"].to_pylist())


def test_no_site_spells_another_one(tmp_path: Path) -> None:
    pairs = [("A", "12"), ("A1", "2"), ("", "A12"), ("1:A", "12"), ("A\x1f1", "2"), ("A", "1\x1f2"), ("a", "12")]
    assert len({patient_of_site(*pair) for pair in pairs}) == len(pairs)
    assert patient_of_site("", "P17") == "P17"
    assert patient_of_site("North", "") == ""


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("form", ["no column", "empty column"])
def test_a_table_without_sites_beside_others_is_one_line(name: str, form: str, tmp_path: Path) -> None:
    export = two_sites(tmp_path)

    def without(listed: Rows) -> Rows:
        plain = [{key: value for key, value in row.items() if key != "site"} for row in listed]
        return [row | {"site": ""} for row in plain] if form == "empty column" else plain

    change(export, name, without)
    with pytest.raises(ExportError, match=rf"^{name}: states no site, which other tables do: state 'site' in every"):
        tables_of(export)


@pytest.mark.parametrize("name", ["reports.csv", "measurements.csv"])
def test_sites_beside_lists_without_them_are_one_line(name: str, tmp_path: Path) -> None:
    export = generic_export(tmp_path)
    change(export, name, lambda listed: [row | {"site": "North"} for row in listed])
    with pytest.raises(ExportError, match=rf"^{name}: states sites, which ecgs.csv and echoes.csv do not"):
        tables_of(export)


def test_a_row_without_its_site_names_no_patient(tmp_path: Path) -> None:
    export = two_sites(tmp_path)
    for name in TABLES:
        change(export, name, lambda listed: [listed[0] | {"site": ""}, *listed[1:]])
    tables = tables_of(export)
    details = {row["detail"] for row in rows(tables["quarantine"])}
    assert details == {"no patient"}
    assert tables["quarantine"].num_rows == len(TABLES)
    assert NAMES.patient("PAT0000") not in set(tables["ecgs"]["patient_id"].to_pylist())
    assert tables["ecgs"].num_rows == 5


def test_a_table_of_labels_names_the_site(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("site,patient_id,ecg_id,mr\nNorth,PAT0000,1,0\nSouth,PAT0000,1,1\n")
    known = {row["record_id"] for row in rows(tables_of(two_sites(tmp_path / "export"))["ecgs"])}
    labels = rows(read_label_file(path, KEY))
    assert {row["measurement"] for row in labels} == {"mr"}
    assert len({row["record_id"] for row in labels} & known) == 2
    path.write_text("site,patient_id,ecg_id,mr\n,PAT0000,1,0\n")
    with pytest.raises(UserError, match="line 2: names no site"):
        read_label_file(path, KEY)
