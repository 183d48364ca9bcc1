"""Tables of precomputed embeddings: what is read, whose vectors they are, what is refused in one line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.conventions import UserError
from echoingecg.catalog.layouts.base import ECHO_COLUMNS, patient_of_site
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.recipe import TeacherSettings
from echoingecg.teacher.networks.kind import load_teacher, teacher_identity
from echoingecg.teacher.table import assign_vectors, read_embeddings

KEY = b"a key of this test"
NAMES = Pseudonyms(KEY)
LISTED = pd.DataFrame(
    [
        ("lists/echo-record-list.csv#2", "P1", "A", "", "lists/files/1.dcm"),
        ("lists/echo-record-list.csv#3", "P1", "A", "", "lists/files/2.dcm"),
        ("lists/echo-record-list.csv#4", "P2", "B", "", "lists/files/3.dcm"),
        ("lists/echo-record-list.csv#5", "P3", "B", "", "lists/files/4.dcm"),
    ],
    columns=ECHO_COLUMNS,
    dtype="str",
)


def random_vectors(count: int, dim: int = 8) -> np.ndarray:
    """float32 (count, dim), none of unit length."""
    return np.random.default_rng(3).normal(size=(count, dim)).astype(np.float32)


def by_frame(path: Path, vectors: np.ndarray, clip: str = "files/1.dcm") -> Path:
    frame = pd.DataFrame({"dicom_filepath": clip, "frame": np.arange(len(vectors)), "embedding": list(vectors)})
    frame.to_parquet(path)
    return path


@pytest.mark.parametrize("ending", ["list.parquet", "fixed.parquet", "columns.parquet", "columns.csv", "json.csv"])
def test_every_form_gives_the_same_vectors(ending: str, tmp_path: Path) -> None:
    """NumPy alone says what the vectors are: divided by their length, then rounded to float16."""
    vectors = random_vectors(5)
    path = tmp_path / ending
    frame = pd.DataFrame({"path": [f"{number:03}.dcm" for number in range(5)]})
    if ending == "fixed.parquet":
        fixed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 8)
        pq.write_table(pa.table({"path": frame["path"], "embedding": fixed}), path)
    elif ending == "list.parquet":
        frame.assign(embedding=list(vectors)).to_parquet(path)
    elif ending == "json.csv":
        frame.assign(embedding=[json.dumps(one.tolist()) for one in vectors]).to_csv(path, index=False)
    else:
        frame = frame.join(pd.DataFrame(vectors, columns=[f"e{number}" for number in range(8)]))
        frame.to_csv(path, index=False) if ending.endswith("csv") else frame.to_parquet(path)
    table = read_embeddings(path)
    lengths = np.sqrt((vectors.astype(float) ** 2).sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(table.vectors, (vectors / lengths).astype(np.float16))
    assert (table.level, table.names["path"].tolist()) == ("clip", [f"{number:03}.dcm" for number in range(5)])


def test_eleven_columns_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    values = np.eye(11)[:, ::-1]
    frame = pd.DataFrame(values, columns=[f"e{number}" for number in range(11)]).assign(study_id=range(11))
    frame[sorted(frame.columns)].to_csv(tmp_path / "table.csv", index=False)
    np.testing.assert_array_equal(read_embeddings(tmp_path / "table.csv").vectors, values)


def test_unit_float16_vectors_are_not_changed(tmp_path: Path) -> None:
    vectors = random_vectors(300, 512)
    half = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    table = read_embeddings(by_frame(tmp_path / "table.parquet", half.astype(np.float32)))
    assert table.vectors.tobytes() == half.tobytes()


def test_a_clip_is_known_by_each_spelling_of_its_path(tmp_path: Path) -> None:
    vectors = random_vectors(3)
    spellings = ["files/1.dcm", "lists/files/2.dcm", "./files//3.dcm"]
    pd.DataFrame({"path": spellings, "embedding": list(vectors)}).to_parquet(tmp_path / "table.parquet")
    table = read_embeddings(tmp_path / "table.parquet")
    assigned = assign_vectors(table, LISTED, KEY, tmp_path)
    assert set(assigned) == {NAMES.source("echo", f"lists/files/{number}.dcm") for number in (1, 2, 3)}
    np.testing.assert_array_equal(assigned[NAMES.source("echo", "lists/files/2.dcm")], table.vectors[1:2])


def test_frames_come_in_their_order(tmp_path: Path) -> None:
    vectors, order = random_vectors(12), np.random.default_rng(1).permutation(12)
    frame = pd.DataFrame({"path": "files/1.dcm", "frame": np.arange(12), "embedding": list(vectors)}).iloc[order]
    frame.to_parquet(tmp_path / "table.parquet")
    assigned = assign_vectors(read_embeddings(tmp_path / "table.parquet"), LISTED, KEY, tmp_path)
    expected = read_embeddings(by_frame(tmp_path / "sorted.parquet", vectors)).vectors
    np.testing.assert_array_equal(*[*assigned.values(), expected])


def test_a_study_needs_its_patient_only_where_two_share_its_name(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("study_id,e0,e1\nA,3,4\nunknown,1,0\n")
    assert list(assign_vectors(read_embeddings(path), LISTED, KEY, path)) == [NAMES.study("P1", "A")]
    path.write_text("study_id,e0,e1\nB,3,4\n")
    with pytest.raises(UserError, match="two patients have a study of the same name: add the column patient_id"):
        assign_vectors(read_embeddings(path), LISTED, KEY, path)
    path.write_text("subject_id,study_id,e0,e1\nP3,B,3,4\nP1,B,1,0\n")
    assert list(assign_vectors(read_embeddings(path), LISTED, KEY, path)) == [NAMES.study("P3", "B")]


def test_a_study_of_a_site_needs_its_patient(tmp_path: Path) -> None:
    path, north = tmp_path / "table.csv", patient_of_site("North", "P1")
    listed = LISTED.assign(patient=[north, north, patient_of_site("South", "P1"), "P3"])
    path.write_text("site,patient_id,study_id,e0\nNorth,P1,A,1\nSouth,P1,A,1\n")
    assert list(assign_vectors(read_embeddings(path), listed, KEY, path)) == [NAMES.study(north, "A")]
    path.write_text("site,study_id,e0\nNorth,A,1\n")
    with pytest.raises(UserError, match="has the column site, and needs patient_id"):
        read_embeddings(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,e0,e1\na,1,2\nb,1,nan\n", r"row 2 \(of 1\) holds a vector that is not finite"),
        ("path,e0,e1\na,1,2\nb,1,\n", r"row 2 \(of 1\) holds a vector that is not finite"),
        ("path,e0,e1\na,1,2\nb,0,0\n", r"row 2 \(of 1\) holds a vector of zeros"),
        ("path,e0,e1\na,1,2\nb,3,4\na,1,2\n", r"row 3 \(of 1\) holds a vector of the same name for the second time"),
        ("path,e0,e1\na,1,2\n,3,4\n", r"row 2 \(of 1\) holds no path"),
        ("path,frame,e0,e1\na,0,1,2\na,0,1,2\n", "for the second time"),
        ("path,frame,e0,e1\na,x,1,2\n", "'frame' is no whole number"),
        ('path,embedding\na,"[1, 2]"\nb,"[1, 2, 3]"\n', r"row 2 \(of 1\) holds another number of values than the 2"),
        ('path,embedding\na,"[1, 2]"\nb,\n', r"row 2 \(of 1\) holds another number of values than the 2"),
        ('path,embedding\na,"[1, x]"\n', "'embedding' is no list of numbers"),
        ("path,e0,e2\na,1,2\n", "e0, e1 ... without a gap"),
        ("path,e0,e1\na,1,two\n", "not a table of vectors in Parquet or UTF-8 CSV: In CSV column #2"),
        ("path,time\na,1\n", "needs the column 'embedding'"),
        ("clip,e0,e1\na,1,2\n", "needs the column path, dicom_filepath, study_id"),
        ("path,dicom_filepath,e0\na,a,1\n", "leave one of them"),
        ("path,e0\n", "holds no vector"),
    ],
)  # fmt: skip
def test_bad_tables_are_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_embeddings(path)
    assert "\n" not in str(caught.value)


def test_another_length_is_seen_in_a_later_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("echoingecg.teacher.table._ROWS_AT_ONCE", 2)
    vectors = [*random_vectors(4), random_vectors(1, 7)[0]]
    frame = pd.DataFrame({"path": [str(number) for number in range(5)], "embedding": vectors})
    frame.to_parquet(tmp_path / "table.parquet")
    with pytest.raises(UserError, match=r"row 5 \(of 1\) holds another number of values than the 8 of the first row"):
        read_embeddings(tmp_path / "table.parquet")


def test_a_csv_column_may_begin_with_whole_numbers(tmp_path: Path) -> None:
    rows = [f"{number},1,2" for number in range(200_000)] + ["last,0.6,0.8"]
    (tmp_path / "table.csv").write_text("\n".join(["path,e0,e1", *rows]))
    np.testing.assert_array_equal(read_embeddings(tmp_path / "table.csv").vectors[-1], np.float16([0.6, 0.8]))


def test_two_spellings_of_one_clip_are_twice(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("path,e0,e1\nfiles/1.dcm,1,2\nlists/files/1.dcm,1,2\n")
    with pytest.raises(UserError, match=r"row 2 \(of 1\) holds a vector of the same name"):
        assign_vectors(read_embeddings(path), LISTED, KEY, path)
    path.write_text("path,e0,e1\nother.dcm,1,2\n")
    with pytest.raises(UserError, match="the export lists none of its 1 rows"):
        assign_vectors(read_embeddings(path), LISTED, KEY, path)


def test_no_file_is_quoted_that_is_no_table(tmp_path: Path) -> None:
    for name in ("table.csv", "table.parquet"):
        (tmp_path / name).write_bytes(b"Doe, Jane\x00\xff\n1,2,3\n")
        with pytest.raises(UserError) as caught:
            read_embeddings(tmp_path / name)
        assert "Jane" not in str(caught.value)


def test_the_identity_is_the_content_and_there_is_no_network(tmp_path: Path) -> None:
    first, second = (by_frame(tmp_path / name, random_vectors(2)) for name in ("a.parquet", "b.parquet"))
    settings = TeacherSettings(model=f"table:{first}")
    assert teacher_identity(settings) == teacher_identity(TeacherSettings(model=f"table:{second}"))
    by_frame(second, random_vectors(2) + 1)
    assert teacher_identity(settings) != teacher_identity(TeacherSettings(model=f"table:{second}"))
    with pytest.raises(UserError, match="no network that embeds clips"):
        load_teacher(settings, "cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "table:/nowhere.parquet"}, "no such file"),
        ({"weights": "w.pt"}, "brings its own vectors"),
        ({"colour_doppler": "refuse"}, "never opens"),
        ({"view_filter": "views:apical"}, "never opens"),
    ],
)
def test_settings_that_need_clips_are_refused(change: dict[str, str], message: str, tmp_path: Path) -> None:
    path = by_frame(tmp_path / "a.parquet", random_vectors(2))
    with pytest.raises(UserError, match=message):
        teacher_identity(TeacherSettings(**({"model": f"table:{path}"} | change)))
