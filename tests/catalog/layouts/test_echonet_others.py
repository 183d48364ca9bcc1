"""EchoNet-Pediatric and EchoNet-LVH by their published names and columns: echoes with measurements, no ECG."""

from pathlib import Path

import pyarrow as pa
from catalog.layouts.test_echonet_dynamic import write_video

from echoingecg.catalog.build import build
from echoingecg.catalog.pseudonyms import Pseudonyms
from echoingecg.catalog.scan import scan
from echoingecg.recipe import CatalogSettings
from helpers.cases.hospital import KEY

PEDIATRIC_HEADER = "FileName,EF,Sex,Age,Weight,Height,Split\n"
LVH_HEADER = "HashedFileName,Calc,CalcValue,Frame,X1,X2,Y1,Y2,Frames,FPS,Width,Height,split\n"


def of_layout(export: Path, layout: str) -> dict[str, pa.Table]:
    """Catalog of an export that is recognised as of the layout."""
    seen = scan(export, CatalogSettings(), KEY)
    assert seen.layout.name == layout
    return build(seen, KEY)


def test_both_views_of_the_pediatric_data_set_are_one_export(tmp_path: Path) -> None:
    names = {"A4C": "CR32a7555-CR32a7582-000039.avi", "PSAX": "CR32a7555-CR32a7582-000040.avi"}
    for number, (view, name) in enumerate(names.items()):
        folder = tmp_path / "pediatric_echo_avi" / view
        write_video(folder / "Videos" / name, number)
        (folder / "FileList.csv").write_text(f"{PEDIATRIC_HEADER}{name},{60.5 + number},F,10,30,140,0\n")
    tables = of_layout(tmp_path, "echonet-pediatric")
    patient = Pseudonyms(KEY).patient("CR32a7555")
    assert tables["echoes"]["patient_id"].to_pylist() == [patient, patient], "both videos on one side of any split"
    by_study = dict(zip(tables["echoes"]["study_id"].to_pylist(), [0, 1], strict=True))
    assert len(by_study) == 2
    stated = [(row["study_id"], row["measurement"], row["unit"]) for row in tables["measurements"].to_pylist()]
    assert {study for study, *_ in stated} == set(by_study)
    assert {rest for _, *rest in map(list, stated) for rest in [tuple(rest)]} == {("lvef", "%"), ("split", "")}
    assert sorted(tables["measurements"]["value"].to_pylist()) == [0.0, 0.0, 60.5, 61.5], "twice fold 0, and both LVEFs"
    assert tables["quarantine"].num_rows == 0


def test_calipers_of_lvh_are_centimetres_by_the_names_of_the_recipes(tmp_path: Path) -> None:
    root = tmp_path / "EchoNet-LVH"
    write_video(root / "Batch1/0X1.avi", 1)
    write_video(root / "Batch4/0X2.avi", 2)
    for folder in ("Batch2", "Batch3"):
        write_video(root / folder / "0X3.avi", 3)
    rest = "10,1,2,3,4,100,50,1024,768,train"
    lines = ["0X1,IVSd,1.1", "0X1,LVIDd,4.6", "0X1,LVPWd,0.9", "0X2,LVIDs,3.1", "0X3,IVSd,1.0", "0X4,IVSd,1.0"]
    (root / "MeasurementsList.csv").write_text(LVH_HEADER + "".join(f"{line},{rest}\n" for line in lines))
    tables, names = of_layout(tmp_path, "echonet-lvh"), Pseudonyms(KEY)
    assert set(tables["echoes"]["patient_id"].to_pylist()) == {names.patient("0X1"), names.patient("0X2")}
    stated = {
        (row["measurement"], row["value"], row["unit"])
        for row in tables["measurements"].to_pylist()
        if row["patient_id"] in (names.patient("0X1"), names.patient("0X2"))
    }
    assert stated == {
        ("septal_thickness", 1.1, "cm"),
        ("lvedd", 4.6, "cm"),
        ("inf_lat_thickness", 0.9, "cm"),
        ("lvesd", 3.1, "cm"),
        ("split", None, ""),
    }
    split = [row for row in tables["measurements"].to_pylist() if row["measurement"] == "split"]
    assert [row["words"] for row in split] == ["train"] * 4, "one of each video, whatever its number of calipers"
    refused = [row["reason"] for row in tables["quarantine"].to_pylist()]
    assert refused == ["missing_file", "missing_file"], "0X3 is in two folders, 0X4 in none"
