"""What the trainer and its workers share: memory for arrays, a socket for the rest.

The memory has no name in `/dev/shm`: it lives as long as a process holds it, is not
bound by the small `/dev/shm` of containers, and cannot be left behind.
"""

import math
import os
import pickle
import socket
import struct
from dataclasses import dataclass
from mmap import mmap
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

STEP = b"s"
"""To a worker: step with the actions in memory. Its one-byte answer is `DONE`."""
DONE = b"."
OBJECT = b"o"
"""Marks a longer message: its length in 8 bytes and a pickle follow."""


@dataclass(frozen=True)
class Refused:
    """An environment's answer to a request that is not possible."""

    why: str


@dataclass(frozen=True)
class MemoryLayout:
    """Shape of the memory of `num_envs` environments."""

    num_envs: int
    frame_shape: tuple[int, ...] | None
    """(H, W, C); None without frames."""
    action_shape: tuple[int, ...]
    action_dtype: str
    state_size: int | None = None
    """Entries of a state; None without states."""

    @property
    def arrays(self) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
        """Name, element type and shape of each array, in the order of the memory."""
        rows = self.num_envs
        observed: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        if self.frame_shape is not None:
            frames = (np.dtype(np.uint8), (rows, *self.frame_shape))
            observed |= {"frames": frames, "final_frames": frames}
        if self.state_size is not None:
            states = (np.dtype(np.float32), (rows, self.state_size))
            observed |= {"states": states, "final_states": states}
        return observed | {
            "actions": (np.dtype(self.action_dtype), (rows, *self.action_shape)),
            "rewards": (np.dtype(np.float32), (rows,)),
            "terminated": (np.dtype(np.bool_), (rows,)),
            "truncated": (np.dtype(np.bool_), (rows,)),
            "tracks": (np.dtype("S32"), (rows,)),
        }

    @property
    def size(self) -> int:
        """Bytes of memory."""
        return sum(_padded(dtype, shape) for dtype, shape in self.arrays.values())

    def create_memory(self) -> int:
        """Return the file descriptor of new shared memory.

        Raises:
            MemoryError: the machine does not have that much.
        """
        free = psutil.virtual_memory().available
        if self.size > free:
            raise MemoryError(
                f"the observations need {self.size / 2**20:.0f} MiB of shared memory and"
                f" {free / 2**20:.0f} MiB are free: use smaller frames or fewer environments"
            )
        descriptor = os.memfd_create("kart_jax")
        os.posix_fallocate(descriptor, 0, self.size)  # fail here, not by SIGBUS in a step
        return descriptor


def _padded(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """Bytes of an array, up to the next cache line."""
    return -(-math.prod(shape) * dtype.itemsize // 64) * 64


class Slots:
    """One row per environment: its action, and the step's outcome."""

    frames: NDArray[np.uint8] | None = None
    final_frames: NDArray[np.uint8] | None = None
    states: NDArray[np.float32] | None = None
    final_states: NDArray[np.float32] | None = None
    actions: NDArray[Any]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    tracks: NDArray[np.bytes_]

    def __init__(self, layout: MemoryLayout, descriptor: int | None) -> None:
        """Attach the shared memory `descriptor`, or private memory if there is none."""
        buffer = mmap(-1 if descriptor is None else descriptor, layout.size)
        offset = 0
        for name, (dtype, shape) in layout.arrays.items():
            array = np.frombuffer(buffer, dtype, math.prod(shape), offset).reshape(shape)
            setattr(self, name, array)
            offset += _padded(dtype, shape)


def send_object(link: socket.socket, value: Any, descriptors: tuple[int, ...] = ()) -> None:
    """Send any picklable value, and file descriptors with it."""
    payload = pickle.dumps(value)
    socket.send_fds(link, [OBJECT], descriptors)
    link.sendall(struct.pack("<Q", len(payload)) + payload)


def receive_object(link: socket.socket) -> Any:
    """Return the value whose mark `OBJECT` has just been read.

    Raises:
        EOFError: the other side is gone.
    """
    (length,) = struct.unpack("<Q", _receive_exactly(link, 8))
    return pickle.loads(_receive_exactly(link, length))


def _receive_exactly(link: socket.socket, length: int) -> bytearray:
    payload = bytearray(length)
    view = memoryview(payload)
    while view:
        received = link.recv_into(view)
        if received == 0:
            raise EOFError("the other side closed the connection")
        view = view[received:]
    return payload
