"""Which room may import which: what CONTRIBUTING.md promises, and that breaking it is noticed."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kart_jax"

LEARNING = ("jax", "flax", "optax", "orbax", "chex")
ROOMS = (
    *("cli", "evaluation", "game", "imitation", "policy", "ppo", "reporting", "run_folder"),
    "training",
)
"""All rooms but `workers`, which the rules name by itself."""
FORBIDDEN = {
    "game": (*LEARNING, *(f"kart_jax.{room}" for room in ROOMS if room not in ("game", "cli"))),
    "workers": (*LEARNING, *(f"kart_jax.{room}" for room in ROOMS if room != "game")),
    "policy": ("kart_jax.game", "kart_jax.workers", "kart_jax.training", "kart_jax.run_folder"),
    "ppo": ("kart_jax.game", "kart_jax.workers", "kart_jax.training", "kart_jax.run_folder"),
    "run_folder": ("kart_jax.training", "kart_jax.evaluation", "kart_jax.cli"),
    "imitation": ("kart_jax.evaluation", "kart_jax.cli"),
    "evaluation": ("kart_jax.cli", "kart_jax.reporting"),
    "reporting": ("kart_jax.cli", "kart_jax.training", *LEARNING),
    "training": ("kart_jax.cli", "kart_jax.imitation"),
}
"""By room: what no module of it may import, nor any module inside that."""


def imports(path: Path) -> Iterator[str]:
    """The absolute names of all that a module imports, also inside functions and for types."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by a relative name"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def commands() -> list[str]:
    """The modules that can be typed: those of the top level that run as a program."""
    return [path.stem for path in PACKAGE.glob("*.py") if "__main__" in path.read_text("utf-8")]


def broken_rules(package: Path) -> list[str]:
    """A line for each import that a rule forbids."""
    found = []
    forbidden_everywhere = [f"kart_jax.{name}" for name in commands()]
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0]
        inside = path.parent != package
        forbidden = [*FORBIDDEN.get(room, ()), *(forbidden_everywhere if inside else ())]
        found += [
            f"{path.relative_to(package)} imports {name}"
            for name in imports(path)
            if any(name == bad or name.startswith(f"{bad}.") for bad in forbidden)
        ]
    return found


def test_no_room_imports_what_it_must_not() -> None:
    assert broken_rules(PACKAGE) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("game/camera.py", "import jax"),
        ("game/engine/race.py", "from jax import numpy"),
        ("workers/pool.py", "from kart_jax.policy import network"),
        ("ppo/loss.py", "from kart_jax import game"),
        ("policy/network.py", "def f():\n    import kart_jax.workers.pool"),
        ("training/loop.py", "from kart_jax.train import main"),
        ("run_folder/logs.py", "from kart_jax.training.metrics import Stopwatch"),
    ],
)
def test_a_broken_rule_is_noticed(tmp_path: Path, module: str, line: str) -> None:
    path = tmp_path / module
    path.parent.mkdir(parents=True)
    path.write_text(line, encoding="utf-8")
    found = broken_rules(tmp_path)
    assert found
    assert found[0].startswith(f"{module} imports ")


def test_benchmarks_import_nothing_from_tests() -> None:
    benchmarks = sorted((PACKAGE.parent / "benchmarks").rglob("*.py"))
    found = [name for path in benchmarks for name in imports(path) if name.startswith("tests")]
    assert benchmarks
    assert found == []


def test_the_top_level_is_what_can_be_typed() -> None:
    leaves = {path.stem for path in PACKAGE.glob("*.py")} - set(commands())
    assert leaves == {"__init__", "config", "files", "validation"}
