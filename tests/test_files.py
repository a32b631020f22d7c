"""Files appear whole or not at all, whatever else is being written beside them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ser_mlops.files import hand_over, remove, replacing, write_text


def test_many_writers_share_a_folder_without_minding_each_other(tmp_path: Path) -> None:
    """Each flushes its own file and the folder's names; a neighbour's half-written file may be gone a moment later."""

    def write(number: int) -> None:
        write_text(tmp_path / f"{number % 10}.txt", f"{number}\n")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(400)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{number}.txt" for number in range(10)]
    assert all(int(path.read_text()) % 10 == int(path.stem) for path in tmp_path.iterdir())


@pytest.mark.parametrize("folder", [False, True])
def test_what_fails_half_way_leaves_the_old_and_nothing_beside_it(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "kept"
    for text in ("old", "new"):
        try:
            with replacing(path) as aside:
                if folder:
                    aside.mkdir()
                (aside / "file" if folder else aside).write_text(text)
                if text == "new":
                    raise InterruptedError
        except InterruptedError:
            pass
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
    assert (path / "file" if folder else path).read_text() == "old"


def test_a_folder_is_handed_over_without_a_copy_and_twice_if_need_be(tmp_path: Path) -> None:
    source, destination = tmp_path / "staged", tmp_path / "store"
    for name, text in {"weights": "new", "code/module.py": "x = 1"}.items():
        write_text(source / name, text)
    write_text(destination / "weights", "of a try that a kill cut short")
    for _ in range(2):
        hand_over(source, destination)
    remove(source)
    held = {path.relative_to(destination).as_posix(): path.read_text() for path in destination.rglob("*") if path.is_file()}
    assert held == {"weights": "new", "code/module.py": "x = 1"}


def test_a_folder_is_handed_over_by_second_names(tmp_path: Path) -> None:
    write_text(tmp_path / "staged/weights", "heavy")
    hand_over(tmp_path / "staged", tmp_path / "store")
    assert (tmp_path / "store/weights").samefile(tmp_path / "staged/weights")
