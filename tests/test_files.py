import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from kart_jax.files import check_output, expand_paths, write_whole


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.json"
    write_whole(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    monkeypatch.undo()
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@dataclass(frozen=True)
class Paths:
    one: Path = Path("~/a")
    none: Path | None = None
    several: tuple[Path, ...] = (Path("~/b"), Path("c"))
    name: str = "~/d"


def test_a_tilde_means_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/racer")
    paths = Paths()
    expand_paths(paths)
    home = Path("/home/racer")
    assert paths == Paths(home / "a", None, (home / "b", Path("c")), "~/d")
    with pytest.raises(RuntimeError, match="home"):
        expand_paths(Paths(Path("~nobody_of_this_name/a")))


def test_an_output_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    check_output("json", None)
    check_output("json", tmp_path / "new.json")
    for path in (tmp_path, tmp_path / "nowhere" / "new.json"):
        with pytest.raises(ValueError, match=r"json = .* a folder that exists"):
            check_output("json", path)
