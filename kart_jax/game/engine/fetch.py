"""Two ways to fetch the game's data: Debian's or Ubuntu's package, and pystk2's own download."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

VERSION = "1.5"
"""The version of the engine inside pystk2, and so of the data it reads."""

PACKAGES = (
    f"supertuxkart-data={VERSION}*",
    # The game's fonts are links into these.
    "fonts-noto-core",
    "fonts-noto-ui-core",
    "fonts-noto-color-emoji",
)
SUITES = ("forky main", "sid main", "resolute main universe")
"""Suites and components that carry this version, preferred first: Debian's, then Ubuntu's."""
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
)
"""Beside the keys of trusted.gpg.d; newer systems keep the archive's only here."""
PROGRESS_SECONDS = 5.0
"""Between two lines about a download."""


class FetchError(Exception):
    """One way of fetching the data did not work."""


def with_apt(destination: Path) -> None:
    """Put the data of the package, fonts included, at `destination`.

    Needs neither root nor a change to the system: apt runs on lists and sources of its
    own, and checks signatures and digests as ever. `destination` appears in one step.

    Raises:
        FetchError: there is no apt, no mirror with the package, or it does not unpack.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise FetchError(f"this system has no {tool}")
    work = destination.with_name(destination.name + ".partial")
    shutil.rmtree(work, ignore_errors=True)  # left by a process that was killed
    try:
        _download(work)
        _say("unpacking")
        for package in work.glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(package), str(work / "root")], work)
            package.unlink()
        share = work / "root/usr/share"
        result = share / "games/supertuxkart"
        _copy_fonts(result / "data/ttf", share / "fonts")
        shutil.rmtree(destination, ignore_errors=True)  # found incomplete, or we were not here
        result.rename(destination)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def with_pystk2(folder: Path) -> None:
    """Let pystk2 download the release's source archive and unpack it to `folder`.

    Raises:
        FetchError: the download fails, most often because the web is out of reach.
    """
    code = "import pystk2; pystk2.init(pystk2.GraphicsConfig.none())"
    environment = {k: v for k, v in os.environ.items() if k != "SUPERTUXKART_DATADIR"}

    def archives() -> list[Path]:
        return list(folder.parent.glob(f"SuperTuxKart-{VERSION}-src.tar.gz*"))

    def progress() -> str:
        return f"{_megabytes(archives())} MB so far"

    command = [sys.executable, "-c", code]
    status, errors = _watch(command, Path.cwd(), progress, environment)
    if not (folder / "__downloaded__.txt").is_file():
        # A damaged archive would be taken for a good one the next time.
        for archive in archives():
            archive.unlink()
        raise FetchError(_last_line(errors) or f"it ended with status {status}")


def mirrors() -> list[str]:
    """Return the addresses that the system's own apt sources name, security ones left out."""
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Identifier: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    targets = [line.rsplit(" ", 1) for line in listing.splitlines() if line.endswith(" main")]
    return list(dict.fromkeys(address for address, _ in targets if "security" not in address))


def _download(work: Path) -> None:
    """Fetch the packages into `work` from the first mirror and suite that has them."""
    addresses = mirrors()
    if not addresses:
        raise FetchError("the system's apt sources name no mirror")
    failures = []
    for source in (f"{address} {suite}" for address in addresses for suite in SUITES):
        (work / "lists/partial").mkdir(parents=True, exist_ok=True)
        (work / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
        (work / "sources.list").write_text(f"deb {source}\n")
        try:
            _run([*_apt(work), "update"], work)
            _download_from(source, work)
        except FetchError as error:
            failures.append(f"{source}: {error}")
        else:
            return
    raise FetchError("; ".join(failures))


def _download_from(source: str, work: Path) -> None:
    """Fetch the packages, whose digests apt checks against the suite's signed list."""
    listed = _run([*_apt(work), "--print-uris", "download", *PACKAGES], work)
    # A line of each file: 'address' name bytes SHA256:digest
    files = [line.split() for line in listed.splitlines() if line.startswith("'")]
    total = sum(int(size) for _, _, size, _ in files) // 10**6
    _say(f"{len(files)} packages, {total} MB, from {source}")

    def progress() -> str:
        return f"{_megabytes(work.glob('*.deb'))} of {total} MB"

    status, errors = _watch([*_apt(work), "download", *PACKAGES], work, progress)
    if status:
        raise FetchError(_last_line(errors) or f"apt-get ended with {status}")
    for _, name, _, digest in files:
        _say(f"{name}: apt checked {digest}")


def _apt(work: Path) -> list[str]:
    """Return the apt-get command that keeps to the sources, lists and cache in `work`."""
    options = {
        "Dir::Etc::SourceList": work / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Dir::Etc::Trusted": next((ring for ring in KEYRINGS if ring.exists()), KEYRINGS[0]),
        "Dir::State::Lists": work / "lists",
        "Dir::Cache": work / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": "2",
        # A mirror that lags a few days is no reason to stop.
        "Acquire::Check-Valid-Until": "false",
        # The unprivileged user that apt switches to cannot enter a private cache folder.
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]


def _copy_fonts(links: Path, fonts: Path) -> None:
    """Replace each link in `links` by the file it means under `fonts`."""
    for link in links.iterdir():
        if not link.is_symlink():
            continue
        file = next(fonts.rglob(link.name), None)
        if file is None:
            raise FetchError(f"the font packages do not hold {link.name}")
        link.unlink()
        shutil.copyfile(file, link)


def _run(command: list[str], folder: Path) -> str:
    """Run a command in a folder; return what it printed."""
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if run.returncode:
        raise FetchError(_last_line(run.stderr) or f"{command[0]} ended with {run.returncode}")
    return run.stdout


def _watch(
    command: list[str],
    folder: Path,
    progress: Callable[[], str],
    environment: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Run a command and print its progress from time to time; return its status and errors."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while True:
            try:
                _, errors = process.communicate(timeout=PROGRESS_SECONDS)
            except subprocess.TimeoutExpired:
                _say(progress())
            else:
                return process.returncode, errors


def _megabytes(files: Iterable[Path]) -> int:
    sizes = 0
    for file in files:
        with suppress(FileNotFoundError):  # renamed or unpacked meanwhile
            sizes += file.stat().st_size
    return sizes // 10**6


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
