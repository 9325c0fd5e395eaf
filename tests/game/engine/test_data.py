"""Finding and fetching the game's data, with stand-ins for apt and for pystk2's download."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from kart_jax.game.engine import data, fetch
from kart_jax.game.errors import DataError

APT = """#!/bin/sh
# Serves the suite $SUITE, which has the packages; writes a line for each download.
for word; do case $word in
    -oDir::Etc::SourceList=*) sources=${word#*=} ;;
    indextargets) echo "http://mirror/debian main"; exit ;;
    update) grep -q " $SUITE " "$sources" || { echo "E: no suite" >&2; exit 100; }; exit ;;
    --print-uris) printf "'http://mirror/%s' %s 3000000 SHA256:%s\n" g game.deb 1a f fonts.deb 2b
        exit ;;
    download) break ;;
esac; done
echo download >> "$LOG"
sleep "${DOWNLOAD_SECONDS:-0}"
touch game.deb fonts.deb
"""
FOLDERS = [part for part in data.PARTS if not part.endswith(".xml")]
FILES = [part for part in data.PARTS if part.endswith(".xml")]
DPKG = f"""#!/bin/sh
share=$3/usr/share
case $2 in
*/fonts.deb) mkdir -p "$share/fonts/noto" && echo glyphs > "$share/fonts/noto/Noto.ttf" ;;
*) data=$share/games/supertuxkart/data
   mkdir -p $data && cd $data && mkdir {" ".join(FOLDERS)}
   touch supertuxkart.1.5 {" ".join(FILES)}
   ln -s ../../../../fonts/noto/Noto.ttf ttf/Noto.ttf ;;
esac
"""
PYSTK2 = f"""
import os, pathlib
class GraphicsConfig:
    none = staticmethod(lambda: None)
def init(graphics):
    cache = pathlib.Path(os.environ["XDG_CACHE_HOME"]) / "PySuperTuxKart2"
    data = cache / "1.5/data"
    if os.environ["WEB"] == "down":
        cache.mkdir()
        (cache / "SuperTuxKart-1.5-src.tar.gz").write_text("half of it")
        raise ConnectionError("the web is out of reach")
    for folder in {FOLDERS}:
        (data / folder).mkdir(parents=True)
    for file in {[*FILES, "supertuxkart.1.5"]}:
        (data / file).touch()
    (cache / "1.5/__downloaded__.txt").touch()
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no data anywhere; stand-ins for apt, dpkg and pystk2."""
    for name, text in (("bin/apt-get", APT), ("bin/dpkg-deb", DPKG), ("lib/pystk2.py", PYSTK2)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.delenv(data.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.setenv("SUITE", "forky")
    monkeypatch.setenv("WEB", "down")
    return tmp_path / "cache" / "kart_jax"


def make_data(folder: Path) -> Path:
    for part in FOLDERS:
        (folder / "data" / part).mkdir(parents=True)
    for part in (*FILES, f"supertuxkart.{fetch.VERSION}"):
        (folder / "data" / part).touch()
    return folder


def start(**environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kart_jax.data"],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_the_version_is_that_of_the_engine() -> None:
    spec = importlib.util.find_spec("pystk2")
    assert spec is not None
    assert spec.origin is not None
    assert f'VERSION = "{fetch.VERSION}"'.encode() in Path(spec.origin).read_bytes()


def test_nothing_is_found_in_an_empty_cache(cache: Path) -> None:
    assert data.find_data() is None


def test_what_the_game_writes_goes_to_the_cache_or_else_to_a_temporary_folder(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data.profile_dir() == cache / "profile"
    assert data.profile_dir().is_dir()
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "bin"))
    elsewhere = data.profile_dir()
    assert elsewhere.parent == tmp_path / "bin"
    assert elsewhere.is_dir()
    assert data.profile_dir() == elsewhere


@pytest.mark.parametrize("trap", ["another user's folder", "a link"])
def test_a_temporary_folder_of_others_is_not_taken(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "bin"))
    if trap == "a link":
        (tmp_path / "theirs").mkdir()
        taken = tmp_path / "bin" / f"kart_jax-{os.getuid()}"
        taken.symlink_to(tmp_path / "theirs")
    else:
        taken = data.profile_dir()
        user = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: user)
        taken = taken.rename(taken.with_name(f"kart_jax-{user}"))
    own = data.profile_dir()
    assert own.resolve() != taken.resolve()
    assert own.stat().st_mode & 0o777 == 0o700


def test_the_variable_wins_over_the_caches(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = make_data(cache.parent / "named")
    make_data(data.cached_data())
    monkeypatch.setenv(data.VARIABLE, str(named))
    assert data.find_data() == named


def test_our_cache_wins_over_that_of_pystk2(cache: Path) -> None:
    theirs = make_data(data.pystk2_data())
    assert data.find_data() == theirs
    ours = make_data(data.cached_data())
    assert ours.is_relative_to(cache)
    assert data.find_data() == ours


def test_a_variable_that_names_the_wrong_folder_is_refused_with_the_reason(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = make_data(cache / "good")
    older = cache / "older"
    (older / "data").mkdir(parents=True)
    (older / "data/supertuxkart.1.4").touch()
    dangling = make_data(cache / "dangling")
    (dangling / "data/ttf/Thai.ttf").symlink_to("../nowhere.ttf")
    partial = make_data(cache / "partial")
    (partial / "data/tracks").rmdir()
    without = make_data(cache / "without")
    (without / "data/powerup.xml").unlink()
    for folder, reason in (
        (cache / "absent", "does not hold the file supertuxkart.1.5"),
        (good / "data", f"name the folder above it, {good}"),
        (older, "of another version: supertuxkart.1.4"),
        (dangling, "links to ../nowhere.ttf, which is missing"),
        (partial, "incomplete: tracks is missing"),
        (without, "incomplete: powerup.xml is missing"),
    ):
        monkeypatch.setenv(data.VARIABLE, str(folder))
        with pytest.raises(DataError) as refusal:
            data.ensure_data()
        assert reason in str(refusal.value)
        assert f"{data.VARIABLE}={folder}" in str(refusal.value)


def test_several_processes_at_once_fetch_once(cache: Path) -> None:
    processes = [start(DOWNLOAD_SECONDS="1") for _ in range(4)]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, answers
    folder = cache / "supertuxkart-1.5"
    assert {out for out, _ in answers} == {f"{folder}\n"}
    assert (cache.parent.parent / "log").read_text() == "download\n"
    font = folder / "data/ttf/Noto.ttf"
    assert not font.is_symlink()
    assert font.read_text() == "glyphs\n"
    assert sorted(path.name for path in cache.iterdir()) == ["data.lock", "supertuxkart-1.5"]


def test_what_a_killed_process_left_is_cleared_away(cache: Path) -> None:
    process = start(DOWNLOAD_SECONDS="60")
    log = cache.parent.parent / "log"
    deadline = time.monotonic() + 30
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    assert (cache / "supertuxkart-1.5.partial").is_dir()
    again = start()
    _, words = again.communicate(timeout=30)
    assert again.returncode == 0, words
    assert not (cache / "supertuxkart-1.5.partial").exists()


@pytest.mark.parametrize("suite", ["sid", "resolute"])
def test_another_suite_is_tried_where_the_first_is_missing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, suite: str
) -> None:
    monkeypatch.setenv("SUITE", suite)
    assert data.ensure_data() == data.cached_data()


def test_pystk2_downloads_where_apt_has_no_such_package(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUITE", "none")
    monkeypatch.setenv("WEB", "up")
    assert data.ensure_data() == data.pystk2_data()


def test_a_download_shows_its_size_its_progress_and_the_digests(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch, "PROGRESS_SECONDS", 0.2)
    monkeypatch.setenv("DOWNLOAD_SECONDS", "1")
    data.ensure_data()
    words = capsys.readouterr().err
    assert f"once, to {cache}: Debian's or Ubuntu's package" in words
    assert "  2 packages, 6 MB, from http://mirror/debian forky main\n" in words
    assert "  0 of 6 MB\n" in words
    assert "  game.deb: apt checked SHA256:1a\n  fonts.deb: apt checked SHA256:2b\n" in words


def test_a_failure_says_what_was_tried_and_what_to_do(cache: Path) -> None:
    process = start(SUITE="none")
    _, words = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "http://mirror/debian forky main: E: no suite" in words
    assert "http://mirror/debian sid main: E: no suite" in words
    assert "ConnectionError: the web is out of reach" in words
    assert f"set {data.VARIABLE} to a folder that holds data/supertuxkart.1.5" in words
    # pystk2 would trust a damaged archive for ever.
    assert list((cache.parent / "PySuperTuxKart2").iterdir()) == []


def test_a_full_disk_is_noticed_before_fetching(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"takes 2 GB .* 1\.0 GB are free"):
        data.ensure_data()
    assert not (cache.parent.parent / "log").exists()


def test_a_cache_that_cannot_be_written_is_named(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=f"The game's data cannot be written to {cache}"):
        data.ensure_data()


def test_mirrors_of_security_updates_are_left_out(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (
        "http://one/debian/ main",
        "http://one/debian/ main",
        "http://one/debian-security/ main",
        "http://three/other/ stable",
        "http://two/debian/ main",
    )
    script = cache.parent.parent / "bin/apt-get"
    script.write_text("#!/bin/sh\n" + "".join(f"echo {line}\n" for line in lines))
    assert fetch.mirrors() == ["http://one/debian/", "http://two/debian/"]
