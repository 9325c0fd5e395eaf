"""`python -m kart_jax.doctor`: check a machine before training on it.

One line for each check, with a remedy for each problem. The exit status is 1 if
training cannot run.
"""

import argparse
import ctypes
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import psutil

from kart_jax.cli.command import command, program
from kart_jax.config import PRESETS, TrainConfig, preset_name
from kart_jax.game import make_env
from kart_jax.game.engine import fetch
from kart_jax.game.engine import system_packages as system
from kart_jax.game.engine.data import find_data
from kart_jax.game.errors import DataError
from kart_jax.game.state import SIZE

WORKER_MEMORY, UNDRAWN_MEMORY = 540 * 10**6, 170 * 10**6
"""Bytes that a worker holds with the game and a track loaded; and where it draws nothing."""
RUN_DISK = 10**9
"""Bytes free for a run's checkpoints and logs."""
NCCL_MEMORY = 512 * 10**6
"""Bytes of /dev/shm that several NVIDIA GPUs need to talk to each other."""
CGROUP = Path("/sys/fs/cgroup")
TIMED_FRAMES, TIMED_STEPS = 50, 500
GL_RENDERER = 0x1F01
PROBE_SECONDS = 120


@dataclass(frozen=True)
class Check:
    """What one check found."""

    name: str
    state: Literal["ok", "warning", "FAILED"]
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.state:8}{self.name:16}{self.found}"
        return f"{line}\n{'':24}-> {self.remedy}" if self.remedy else line


def check_python() -> Check:
    """Check that Python is new enough."""
    found = f"{platform.python_version()} on {platform.platform()}"
    if sys.version_info < system.PYTHON:
        needed = ".".join(map(str, system.PYTHON))
        return Check("Python", "FAILED", found, f"install Python {needed} or newer")
    return Check("Python", "ok", found)


def check_jax() -> Check:
    """Check which devices JAX sees, and whether it misses a GPU."""
    result = _probe("jax_devices")
    if isinstance(result, str):
        return Check("JAX", "FAILED", result, "install it anew: pip install -e .")
    found = f"{version('jax')}, devices: {', '.join(result['devices'])}"
    if result["backend"] == "cpu" and Path("/proc/driver/nvidia/gpus").is_dir():
        remedy = "to use this machine's NVIDIA GPU: pip install -r requirements-cuda.txt"
        return Check("JAX", "warning", found, remedy)
    shared = shutil.disk_usage("/dev/shm").total
    if result["backend"] == "gpu" and len(result["devices"]) > 1 and shared < NCCL_MEMORY:
        remedy = "several GPUs need more: start the container with --shm-size=1g"
        return Check("JAX", "FAILED", f"{found}; /dev/shm has {_size(shared)}", remedy)
    return Check("JAX", "ok", found)


def check_data() -> Check:
    """Check that there is game data of the engine's version."""
    try:
        folder = find_data()
    except DataError as error:
        return Check("game data", "FAILED", str(error), "unset it: python -m kart_jax.data")
    if folder is None:
        return Check("game data", "FAILED", "none found", "python -m kart_jax.data")
    return Check("game data", "ok", f"SuperTuxKart {fetch.VERSION} in {folder}")


def check_libraries(config: TrainConfig) -> Check:
    """Check that the system's libraries are there that the game links to or draws with."""
    missing = system.missing_packages()
    remedy = f"as root: {system.install_command(missing)}" if missing else ""
    if config.race.draws or system.GLIB in missing:
        if missing:
            return Check("libraries", "FAILED", f"missing: {', '.join(missing)}", remedy)
        return Check("libraries", "ok", "GLib, EGL, OpenGL and a driver")
    if missing:
        found = f"GLib; to draw frames too, there are missing: {', '.join(missing)}"
        return Check("libraries", "ok", found, remedy)
    return Check("libraries", "ok", "GLib, and EGL, OpenGL and a driver to draw frames too")


def check_memory(config: TrainConfig) -> Check:
    """Check that there is memory for the workers and for what imitation learns from."""
    each = WORKER_MEMORY if config.race.draws else UNDRAWN_MEMORY
    free, spares = free_memory(), config.workers.spares
    processes, imitation = config.workers.num_envs + spares, config.imitation_memory
    found = f"{_size(free)} free, {processes} workers take {_size(processes * each)}"
    if imitation:
        found += f", imitation {_size(imitation)}"
    if free < processes * each + imitation:
        fit = (free - imitation) // each - spares
        remedy = f"train with --num-envs {fit} or fewer" if fit > 0 else "free some memory"
        if imitation > free // 2:
            remedy = "train with fewer --imitation-steps or smaller frames"
        return Check("memory", "FAILED", found, remedy)
    return Check("memory", "ok", found)


def check_shared_memory(config: TrainConfig) -> Check:
    """Check that there is shared memory for the workers' observations.

    It has no name in /dev/shm, so a container's 64 MB there are no limit to it.
    """
    race = config.race
    frame = race.height * race.width * race.channels if race.draws else 0
    state = 4 * SIZE if race.observation != "frames" else 0
    # Twice: an ended episode's last observation is stored beside the next one's first.
    needed = 2 * config.workers.num_envs * (frame + state)
    try:
        block = os.memfd_create("kart_jax-doctor")
        try:
            os.posix_fallocate(block, 0, needed)
        finally:
            os.close(block)
    except OSError as error:
        remedy = "let the container use memfd_create, or allow it more memory"
        return Check("shared memory", "FAILED", f"no {_size(needed)}: {error}", remedy)
    return Check("shared memory", "ok", f"{_size(needed)} for observations")


def check_disk() -> Check:
    """Check that there is room for a run."""
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{_size(free)} free in {Path.cwd()}"
    if free < RUN_DISK:
        remedy = f"make room for {_size(RUN_DISK)} of checkpoints and logs, or choose --run-dir"
        return Check("disk", "FAILED", found, remedy)
    return Check("disk", "ok", found)


def check_race(config: TrainConfig) -> Check:
    """Race without drawing, in a process of its own, and measure the speed."""
    result = _probe("step_rate", config.run.preset)
    if isinstance(result, str):
        remedy = "see to the FAILED lines above; the last words of the game are printed here"
        return Check("one race", "FAILED", f"without drawing: {result}", remedy)
    rate = f"{result['rate']:.0f} steps/s in one process"
    return Check("one race", "ok", f"{config.race.track[0]} without drawing, {rate}")


def check_frame(config: TrainConfig) -> Check:
    """Draw frames, in a process of its own, which drawing may kill; measure the speed."""
    result = _probe("frame_rate", config.run.preset)
    race = config.race
    size = f"{race.width} x {race.height}"
    if isinstance(result, str):
        remedy = "see to the FAILED lines above; the last words of the game are printed here"
        return Check("one frame", "FAILED", f"{size}: {result}", remedy)
    rate = f"{result['rate']:.0f} frames/s in one process"
    found = f"{size} on {race.track[0]}, {rate}, drawn by {result['renderer']}"
    if result["spread"] == 0:
        return Check("one frame", "FAILED", f"{found}, all of one colour", "update the driver")
    return Check("one frame", "ok", found)


def free_memory() -> int:
    """Return the bytes of memory that new processes can use, a container's limit included."""
    free = psutil.virtual_memory().available
    limit = CGROUP / "memory.max"
    if limit.is_file() and (text := limit.read_text().strip()) != "max":
        counts = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
        used = int((CGROUP / "memory.current").read_text()) - int(counts["inactive_file"])
        free = min(free, int(text) - used)
    return max(free, 0)


def jax_devices() -> dict[str, Any]:
    """Return JAX's backend and devices."""
    import jax

    return {"backend": jax.default_backend(), "devices": [str(d) for d in jax.devices()]}


def step_rate(preset: str) -> dict[str, Any]:
    """Return the steps a second of this process without drawing, states and rewards and all."""
    race = PRESETS[preset].race
    with make_env(replace(race, track=race.track[:1], observation="state")) as env:
        env.reset(seed=0)
        start = time.perf_counter()
        for _ in range(TIMED_STEPS):
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        seconds = time.perf_counter() - start
    return {"rate": TIMED_STEPS / seconds}


def frame_rate(preset: str) -> dict[str, Any]:
    """Return who draws, the frames a second of this process, and the spread of a frame's values."""
    with make_env(replace(PRESETS[preset].race, stack=1, observation="frames")) as env:
        env.reset(seed=0)
        start = time.perf_counter()
        for _ in range(TIMED_FRAMES):
            frame, _, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        seconds = time.perf_counter() - start
        name_of = ctypes.CDLL("libGL.so.1").glGetString
        name_of.argtypes, name_of.restype = [ctypes.c_uint], ctypes.c_char_p
        renderer = (name_of(GL_RENDERER) or b"an unknown renderer").decode(errors="replace")
    return {
        "renderer": renderer,
        "rate": TIMED_FRAMES / seconds,
        "spread": int(frame.max()) - int(frame.min()),
    }


def _probe(function: str, *arguments: str) -> dict[str, Any] | str:
    """Run a function of this module in a throw-away process; return its answer or last words."""
    # The game writes to stdout too, some of it not before the process ends.
    code = (
        "import json, os, sys; answer = os.fdopen(os.dup(1), 'w'); "
        "os.dup2(os.open(os.devnull, os.O_WRONLY), 1); from kart_jax import doctor; "
        "json.dump(getattr(doctor, sys.argv[1])(*sys.argv[2:]), answer)"
    )
    try:
        run = subprocess.run(
            [sys.executable, "-c", code, function, *arguments],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_SECONDS} s"
    if run.returncode:
        words = run.stderr.strip().splitlines() or ["no message"]
        return f"the process ended with status {run.returncode}: {words[-1]}"
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def _size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1000:.0f} kB"


def run_checks(config: TrainConfig) -> Iterator[Check]:
    """Yield what each check finds, the cheap ones first."""
    checks: list[Callable[[], Check]] = [
        check_python,
        lambda: check_libraries(config),
        check_data,
        lambda: check_memory(config),
        lambda: check_shared_memory(config),
        check_disk,
        check_jax,
        lambda: check_race(config),
    ]
    if config.race.draws:
        checks.append(lambda: check_frame(config))
    for check in checks:
        yield check()


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each check; return 1 if training cannot run, else 0."""
    parser = argparse.ArgumentParser(
        prog=program("doctor"),
        description="Check whether this machine can train; with a remedy for each problem.",
    )
    parser.add_argument(
        "--preset", type=preset_name, choices=list(PRESETS), default="cpu", help="as for training"
    )
    parser.add_argument("--num-envs", type=int, help="workers, by default those of the preset")
    options = parser.parse_args(arguments)
    config = PRESETS[options.preset]
    if options.num_envs is not None:
        try:
            workers = replace(config.workers, num_envs=options.num_envs)
        except ValueError as error:
            parser.error(str(error))
        config = replace(config, workers=workers)
    failed = set()
    for check in run_checks(config):
        print(check, flush=True)
        if check.state == "FAILED":
            failed.add(check.name)
    print(f"\n{_verdict(failed)}")
    return int(bool(failed))


def _verdict(failed: set[str]) -> str:
    """Say what a machine can do where these checks failed."""
    if not failed:
        return "This machine can train."
    if failed <= {"libraries", "one frame"}:
        return (
            "Training on frames cannot run here yet. What draws nothing can: the preset coach, and "
            "the game's AI and the guide in kart_jax.evaluate."
        )
    return "Training cannot run here yet."


if __name__ == "__main__":
    sys.exit(main())
