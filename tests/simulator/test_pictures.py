"""The documentation's pictures can be drawn, and are small enough to keep in the repository."""

from pathlib import Path

from PIL import Image

from docs_reference import simulator_pictures as pictures


def test_the_page_of_ecgs_is_drawn_alike_every_time(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        pictures.draw_ecgs(tmp_path / folder)
    drawn = tmp_path / "one" / "simulated_ecgs.png"
    assert drawn.stat().st_size < 600_000
    assert drawn.read_bytes() == (tmp_path / "two" / "simulated_ecgs.png").read_bytes()
    with Image.open(drawn) as image:
        assert min(image.size) > 1500
        assert len(image.convert("RGB").getcolors(1 << 16)) > 8


def test_main_draws_every_picture_into_a_new_folder(tmp_path: Path, monkeypatch) -> None:
    drawn: list[Path] = []
    monkeypatch.setattr(pictures, "PICTURES", (drawn.append, drawn.append))
    pictures.main([str(tmp_path / "a" / "b")])
    assert drawn == [tmp_path / "a" / "b"] * 2
    assert (tmp_path / "a" / "b").is_dir()
