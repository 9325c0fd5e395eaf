"""Private names of libraries that the package uses, each with what to do once it is gone."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from jax._src import distributed, xla_bridge
from jax._src.lib import _jax
from tensorboardX import SummaryWriter

import kart_jax

PACKAGE = Path(kart_jax.__file__).parent
USED = {
    ("run_folder/logs.py", "_worker"),
    ("training/processes.py", "jax._src"),
    ("training/processes.py", "jax._src.lib"),
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
    """`training/processes.py` passes requests to stop on, and waits for others, by this store.

    Once it is gone: look for a public one in `jax.distributed`. Without any, give up `StopRelay`
    (a process that is asked to stop then lets the others finish their rollout first), and wait
    by a collective instead.
    """
    assert distributed.global_state.client is None  # no other process, no store
    assert distributed.global_state.coordinator_address is None
    for name in ("key_value_set", "key_value_try_get", "blocking_key_value_get"):
        assert callable(getattr(_jax.DistributedRuntimeClient, name)), name


def test_jax_makes_gloos_collectives_where_they_are_replaced() -> None:
    """`training/processes.py` has them listen at this machine's address instead of its name.

    Once it is gone: look for a public option of the address; without any, each machine must
    resolve its own name to an address that the others can reach, which docs/clusters.md must say.
    """
    assert "hostname: str | None" in str(_jax.make_gloo_tcp_collectives.__doc__)
    assert "_jax.make_gloo_tcp_collectives(" in inspect.getsource(xla_bridge)


def test_tensorboards_writer_has_its_thread(tmp_path: Path) -> None:
    """`run_folder/logs.py` opens another writer where a full disk has ended this thread.

    Once it is gone: see whether the writer still has a thread that dies, and silently; if not,
    leave the check out.
    """
    writer = SummaryWriter(str(tmp_path))
    assert writer.file_writer.event_writer._worker.is_alive()
    writer.close()
