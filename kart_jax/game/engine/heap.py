"""The C library's heap, in which the tracks that come and go would leave holes."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
LARGE = 128 * 2**10
"""Bytes of a block that is mapped by itself while a track is loaded: glibc's own first choice."""
HUGE = 32 * 2**20
"""Bytes of one otherwise: the most that glibc's choice grows to."""


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Map large blocks by themselves while a track is loaded, so that they are freed whole.

    glibc does so by itself only until the first of them is freed. From then on textures and
    meshes share the heap with what stays, and each change of track scatters it more. Blocks of
    frames, which come and go at each step, stay in the heap, since mapping takes its time.
    """
    change = getattr(ctypes.CDLL(None), "mallopt", None)
    if change is None:  # another C library
        yield
        return
    change(MMAP_THRESHOLD, LARGE)
    try:
        yield
    finally:
        change(MMAP_THRESHOLD, HUGE)
        # Once one of the two is set, glibc does not adjust the other one any more.
        change(TRIM_THRESHOLD, 2 * HUGE)


def give_back() -> None:
    """Give the heap's free pages back to the system: for when a track was unloaded."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
