"""What a scan reads, skips, refuses and calls the same."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from echoingecg.catalog.scan import Scan, scan
from echoingecg.catalog.scanned_files import SOURCES, ScannedFile
from echoingecg.common import ExportError, hash_files
from echoingecg.ecg.decode import source_files
from echoingecg.recipe import CatalogSettings
from helpers.cases.hospital import KEY, append_row, generic_export, mimic_export, write_csv, write_ecg, write_echo

Maker = Callable[[Path], Path]
BOTH = pytest.mark.parametrize("make", [generic_export, mimic_export])


def look(export: Path, earlier: Scan | None = None, layout: str = "auto") -> Scan:
    settings = CatalogSettings.model_validate({"layout": layout})
    return scan(export, settings, KEY, None if earlier is None else earlier.sources)


def file_at(found: Scan, ending: str) -> ScannedFile:
    return next(one for _, path, one in found.files if path.endswith(ending))


@BOTH
def test_an_unchanged_export_is_not_read_again(tmp_path: Path, make: Maker) -> None:
    first = look(make(tmp_path))
    assert first.read_files == 6
    again = look(tmp_path, first)
    assert again.read_files == 0
    assert again.digest == first.digest
    assert again.sources.equals(first.sources)


@BOTH
def test_the_index_names_real_files_and_their_content(tmp_path: Path, make: Maker) -> None:
    found = look(make(tmp_path))
    for row in SOURCES.check(found.sources).to_pylist():
        files = source_files(tmp_path / row["path"])
        assert [file.name for file in files] == row["parts"]
        assert hash_files(files) == row["content_hash"]
        assert sum(file.stat().st_size for file in files) == row["bytes"]


def test_a_grown_export_reads_only_what_is_new(tmp_path: Path) -> None:
    first = look(generic_export(tmp_path, 3))
    (tmp_path / "signals/rec0.hea").stat()
    write_ecg(tmp_path / "signals/rec9", 9)
    append_row(tmp_path / "ecgs.csv", ecg_id="9", path="signals/rec9")
    grown = look(tmp_path, first)
    assert grown.read_files == 1
    assert grown.digest != first.digest
    assert grown.sources.num_rows == 7


def test_a_touched_file_is_read_but_the_same(tmp_path: Path) -> None:
    first = look(generic_export(tmp_path))
    os.utime(tmp_path / "signals/rec1.dat", ns=(1, 1 << 62))
    again = look(tmp_path, first)
    assert again.read_files == 1
    assert again.digest == first.digest


def test_a_changed_signal_file_of_the_same_size_is_seen(tmp_path: Path) -> None:
    first = look(generic_export(tmp_path))
    data = tmp_path / "signals/rec1.dat"
    data.write_bytes(data.read_bytes()[::-1])
    again = look(tmp_path, first)
    assert again.read_files == 1
    assert again.digest != first.digest


@pytest.mark.parametrize("table", ["ecgs.csv", "reports.csv", "measurements.csv"])
def test_a_changed_table_changes_the_digest(tmp_path: Path, table: str) -> None:
    first = look(generic_export(tmp_path))
    append_row(tmp_path / table, time="2021-05-05 05:05:05")
    again = look(tmp_path, first)
    assert again.read_files == 0
    assert again.digest != first.digest


@BOTH
def test_the_digest_knows_no_place_and_no_time(tmp_path: Path, make: Maker) -> None:
    make(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "far/away", copy_function=shutil.copyfile)
    assert look(tmp_path / "here").digest == look(tmp_path / "far/away").digest


def test_an_index_of_another_key_is_good_for_content_but_not_for_names(tmp_path: Path) -> None:
    first = look(generic_export(tmp_path))
    other = scan(tmp_path, CatalogSettings(), b"another key", first.sources)
    assert other.read_files == 0
    assert other.digest == first.digest
    assert not set(other.sources["source_id"].to_pylist()) & set(first.sources["source_id"].to_pylist())


def test_a_missing_file_is_read_once_it_arrives(tmp_path: Path) -> None:
    generic_export(tmp_path)
    late = tmp_path / "signals/rec0.dat"
    late.rename(tmp_path / "late")
    first = look(tmp_path)
    assert file_at(first, "rec0").refusal == ("missing_file", "the listed file is not there")
    (tmp_path / "late").rename(late)
    again = look(tmp_path, first)
    assert again.read_files == 1
    assert file_at(again, "rec0").refusal is None


@pytest.mark.parametrize("path", ["../secret.dcm", "clips/../../secret.dcm", "/etc/hostname", "..", "signals/.."])
def test_listed_paths_do_not_leave_the_export(tmp_path: Path, path: str) -> None:
    export = generic_export(tmp_path / "export")
    write_echo(tmp_path / "secret.dcm", 77)
    append_row(export / "echoes.csv", path=path)
    found = look(export)
    assert found.read_files == 6
    (refused,) = [one.refusal for *_, one in found.files if one.refusal]
    assert refused[0] == "outside_export"
    assert found.sources.num_rows == 6


@pytest.mark.parametrize("link", ["clips/link.dcm", "signals/link.hea", "signals/rec0.dat", "folder"])
def test_links_do_not_leave_the_export(tmp_path: Path, link: str) -> None:
    export = generic_export(tmp_path / "export")
    write_ecg(tmp_path / "outside/link", 77)
    write_echo(tmp_path / "outside/link.dcm", 77)
    (export / link).unlink(missing_ok=True)
    target = "outside" if link == "folder" else "outside/" + Path(link).name.replace("rec0", "link")
    (export / link).symlink_to(tmp_path / target)
    if link != "signals/rec0.dat":
        listed = "folder/link.dcm" if link == "folder" else link
        append_row(export / "echoes.csv", path=listed)
    found = look(export)
    (refused,) = [one.refusal for *_, one in found.files if one.refusal]
    assert refused == ("outside_export", "a link leaves the export: catalog.allow_links does not allow it")


def test_a_recipe_may_allow_links_to_a_copy_elsewhere(tmp_path: Path) -> None:
    copy = mimic_export(tmp_path / "copy")
    export = tmp_path / "export"
    for folder in ("mimic-iv-ecg", "mimic-iv-echo"):
        (export / folder).mkdir(parents=True)
        for entry in (copy / folder).iterdir():
            (export / folder / entry.name).symlink_to(entry)
    with pytest.raises(ExportError, match=r"link out of the export: .* set catalog\.allow_links: true"):
        look(export)
    settings = CatalogSettings(allow_links=True)
    linked = scan(export, settings, KEY)
    assert linked.digest == look(copy).digest
    assert [one.refusal for *_, one in linked.files if one.refusal] == []
    assert scan(export, settings, KEY, linked.sources).read_files == 0, "an unchanged file behind a link"
    append_row(copy / "mimic-iv-ecg/record_list.csv", study_id=5, path="../../copy/mimic-iv-ecg/record_list.csv")
    refused = [one.refusal for *_, one in scan(export, settings, KEY).files if one.refusal]
    assert refused == [("outside_export", "the listed path leaves the export")], "a path is no link"


def test_files_behind_links_are_seen_to_change(tmp_path: Path) -> None:
    export, settings = generic_export(tmp_path / "export"), CatalogSettings(allow_links=True)
    clip = export / "clips/clip0.dcm"
    clip.rename(tmp_path / "clip.dcm")
    clip.symlink_to(tmp_path / "clip.dcm")
    first = scan(export, settings, KEY)
    assert scan(export, settings, KEY, first.sources).read_files == 0
    write_echo(tmp_path / "clip.dcm", 99)
    os.utime(tmp_path / "clip.dcm", ns=(1, 1 << 62))
    again = scan(export, settings, KEY, first.sources)
    assert again.read_files == 1
    assert again.digest != first.digest


def test_links_within_the_export_are_followed(tmp_path: Path) -> None:
    export = generic_export(tmp_path / "export")
    (export / "more").symlink_to(export / "clips")
    append_row(export / "echoes.csv", path="more/clip0.dcm")
    assert not [one for *_, one in look(export).files if one.refusal]


def test_a_header_that_points_outside_is_hashed_alone(tmp_path: Path) -> None:
    export = generic_export(tmp_path / "export")
    header = export / "signals/rec0.hea"
    header.write_text(header.read_text().replace("rec0.dat", "../../secret.dat"))
    assert file_at(look(export), "rec0").parts == ("rec0.hea",)


def test_endings_and_dots_name_the_same_record(tmp_path: Path) -> None:
    generic_export(tmp_path)
    table = tmp_path / "ecgs.csv"
    table.write_text(table.read_text().replace("signals/rec0", "./signals//rec0.hea"))
    assert ("ecg", "signals/rec0") in {(kind, path) for kind, path, _ in look(tmp_path).files}


def test_a_listed_file_with_an_ending_is_taken_as_it_is(tmp_path: Path) -> None:
    mimic_export(tmp_path)
    write_echo(tmp_path / "mimic-iv-ecg/files/ecg.dcm", 5)
    append_row(tmp_path / "mimic-iv-ecg/record_list.csv", study_id=5, path="files/ecg.dcm")
    assert file_at(look(tmp_path), "files/ecg.dcm").parts == ("ecg.dcm",)


@pytest.mark.parametrize("obstacle", ["folder", "fifo", "nothing", "long"])
def test_what_is_no_file_is_missing(tmp_path: Path, obstacle: str) -> None:
    generic_export(tmp_path)
    path = "clips/" + "x" * (300 if obstacle == "long" else 3)
    if obstacle == "folder":
        (tmp_path / path).mkdir()
    if obstacle == "fifo":
        os.mkfifo(tmp_path / path)
    append_row(tmp_path / "echoes.csv", path=path)
    refusal = next(one.refusal for *_, one in look(tmp_path).files if one.refusal)
    assert refusal[0] == ("unreadable" if obstacle == "long" else "missing_file")
    assert "xxx" not in refusal[1]


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    scan(
        generic_export(tmp_path), CatalogSettings(), KEY, None, lambda done, total, note="": told.append((done, total))
    )
    assert told == [(6, 6)]


def test_layouts_are_told_apart(tmp_path: Path) -> None:
    assert look(generic_export(tmp_path / "a")).layout.name == "generic"
    assert look(mimic_export(tmp_path / "b")).layout.name == "mimic-iv"
    mimic_export(tmp_path / "a")
    assert look(tmp_path / "a", layout="generic").layout.name == "generic"
    with pytest.raises(ExportError, match="has the lists of mimic-iv and generic"):
        look(tmp_path / "a")


def test_a_flat_mimic_folder_and_one_kind_alone(tmp_path: Path) -> None:
    export = mimic_export(tmp_path)
    assert look(export / "mimic-iv-ecg").sources.num_rows == 3
    assert look(export / "mimic-iv-echo").sources.num_rows == 3
    shutil.rmtree(export / "mimic-iv-echo")
    assert look(export).sources.num_rows == 3


def _empty(export: Path) -> None:
    write_csv(export / "ecgs.csv", [], ["patient_id", "ecg_id", "time", "path"])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda export: None, "no list of files; looked for mimic-iv: record_list.csv or echo-record-list.csv"),
        (_empty, "its lists name no file"),
        (
            lambda export: (export / "ecgs.csv").write_text("patient_id,ecg_id,path\n"),
            "ecgs.csv: column 'time' is missing",
        ),
        (lambda export: (export / "ecgs.csv").write_text(""), "ecgs.csv: empty"),
        (lambda export: (export / "ecgs.csv").write_text("a,a\n"), "columns 1 and 2 have the same name"),
        (lambda export: (export / "ecgs.csv").write_bytes(b"\xff\xfe\x00\n"), "ecgs.csv: not a UTF-8"),
        (
            lambda export: (export / "ecgs.csv").write_bytes(b"patient_id,ecg_id,time,path\n\xff,1,2,3\n"),
            "its lists name no file",
        ),
        (lambda export: shutil.rmtree(export), "no such folder"),
    ],
)
def test_exports_that_cannot_be_read(tmp_path: Path, spoil: Callable[[Path], object], says: str) -> None:
    export = tmp_path / "export"
    export.mkdir()
    spoil(export)
    with pytest.raises(ExportError) as fault:
        look(export)
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_table_that_is_there_twice_or_linked_from_outside(tmp_path: Path) -> None:
    export = mimic_export(tmp_path / "export")
    shutil.copyfile(export / "mimic-iv-ecg/record_list.csv", export / "record_list.csv")
    with pytest.raises(ExportError, match=r"record_list\.csv is there 2 times"):
        look(export)
    (export / "record_list.csv").unlink()
    table = export / "mimic-iv-ecg/record_list.csv"
    table.rename(tmp_path / "elsewhere.csv")
    table.symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(ExportError, match="link out of the export"):
        look(export)


def test_byte_order_mark_and_foreign_columns_do_no_harm(tmp_path: Path) -> None:
    first = look(generic_export(tmp_path))
    table = tmp_path / "ecgs.csv"
    lines = table.read_text().splitlines()
    table.write_text("\ufeff" + "\r\n".join(f"{line},x" for line in lines), encoding="utf-8")
    assert look(tmp_path, first).file_tables.ecgs["path"].tolist() == first.file_tables.ecgs["path"].tolist()
