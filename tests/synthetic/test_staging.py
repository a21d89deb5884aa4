"""Rendered data are marked as rendered."""

from pathlib import Path

from relattn.synthetic.staging import MARKER, is_generated, staged


def test_a_rendered_set_and_all_in_it_carry_the_mark(tmp_path: Path) -> None:
    with staged(tmp_path, "set") as folder:
        (folder / "train").mkdir()
        assert not (tmp_path / "set").exists()
    assert (tmp_path / "set" / MARKER).is_file()
    assert is_generated(tmp_path / "set" / "train")
    assert not is_generated(tmp_path)
