import json
import subprocess
import sys

PROGRAM = """
import ctypes, json
from kart_jax.game.engine.heap import give_back, large_blocks_apart

class Usage(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Usage
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096

def mapped(size):
    before = libc.mallinfo2().hblks
    block = libc.malloc(size)
    count = libc.mallinfo2().hblks - before
    libc.free(block)
    return count

libc.free(libc.malloc(4_000_000))
first = mapped(4_000_000)
with large_blocks_apart():
    within = mapped(16_000_000)  # for which the heap has no room yet
after = mapped(16_000_000)
blocks = [libc.malloc(10_000) for _ in range(5_000)]
for block in blocks:
    ctypes.memset(block, 1, 10_000)
for block in blocks[:-1]:  # the last one keeps the heap from shrinking by itself
    libc.free(block)
full = resident()
give_back()
print(json.dumps([first, within, after, full - resident()]))
"""


def test_large_blocks_are_mapped_while_tracks_load_and_pages_go_back() -> None:
    """In a process of its own, whose heap is changed for good."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    first, within, after, given = json.loads(done.stdout)
    assert (first, within, after) == (0, 1, 0)
    assert given > 40_000_000
