"""Private names of libraries that the package uses, each with what to do once it is gone."""

import ast
from collections.abc import Iterator
from pathlib import Path

from jax._src import distributed
from jax._src.lib import _jax
from tensorboardX import SummaryWriter

import kart_jax

PACKAGE = Path(kart_jax.__file__).parent
USED = {
    ("run_folder/logs.py", "_worker"),
    ("training/processes.py", "jax._src"),
}
DOCUMENTED = {"_asdict", "_exit", "_fields", "_replace"}
"""Of named tuples and `os`: public in spite of the underscore."""


def private_names(path: Path) -> Iterator[str]:
    """Names with an underscore in front that a module takes from elsewhere."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                own.add(name)
    for node in nodes:
        match node:
            case ast.Attribute(attr=name) if name.startswith("_") and not name.endswith("__"):
                if name not in own | DOCUMENTED:
                    yield name
            case ast.ImportFrom(module=str(module)) if "._" in module:
                yield module
            case ast.Import(names=names):
                yield from (alias.name for alias in names if "._" in alias.name)


def test_no_other_private_name_is_used() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix(), name)
        for path in PACKAGE.rglob("*.py")
        for name in private_names(path)
    }
    assert found == USED


def test_jax_has_the_processes_key_value_store() -> None:
    """`training/processes.py` passes a request to stop on by it; no public name gives it.

    Once it is gone: look for a public one in `jax.distributed`; without any, give up `StopRelay`
    (a process that is asked to stop then lets the others finish their rollout first).
    """
    assert distributed.global_state.client is None  # no other process, no store
    client = _jax.DistributedRuntimeClient
    assert callable(client.key_value_set)
    assert callable(client.key_value_try_get)


def test_tensorboards_writer_has_its_thread(tmp_path: Path) -> None:
    """`run_folder/logs.py` opens another writer where a full disk has ended this thread.

    Once it is gone: see whether the writer still has a thread that dies, and silently; if not,
    leave the check out.
    """
    writer = SummaryWriter(str(tmp_path))
    assert writer.file_writer.event_writer._worker.is_alive()
    writer.close()
