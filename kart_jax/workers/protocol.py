"""What the trainer and its workers share: memory for arrays, a socket for the rest.

The memory has no name in `/dev/shm`: it lives as long as a process holds it, is not
bound by the small `/dev/shm` of containers, and cannot be left behind.
"""

import os
import pickle
import socket
import struct
from dataclasses import dataclass, field
from mmap import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = b"s"
"""To a worker: step with the actions in memory. Its one-byte answer is `DONE`."""
DONE = b"."
OBJECT = b"o"
"""Marks a longer message: its length in 8 bytes and a pickle follow."""


@dataclass(frozen=True)
class StepBatch:
    """What one group of G environments returned; read-only, and never overwritten."""

    frames: NDArray[np.uint8]
    """`[G, H, W, C]`: the newest frames; after an episode's end, the next one's first."""
    final_frames: NDArray[np.uint8]
    """`[G, H, W, C]`: the last frame of an episode that ended; zeros elsewhere."""
    rewards: NDArray[np.float32]
    """`[G]`"""
    terminated: NDArray[np.bool_]
    """`[G]`"""
    truncated: NDArray[np.bool_]
    """`[G]`"""
    first: NDArray[np.bool_]
    """`[G]`: `frames` holds the first frame of an episode."""
    lost: NDArray[np.bool_]
    """`[G]`: the worker was lost in this step and replaced: reward 0, truncated, and
    the final frame is the last that was seen of the episode."""
    final_infos: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The last info of episodes that ended, by place in the group; no lost ones."""
    reset_infos: dict[int, dict[str, Any]] = field(default_factory=dict)
    """The first info of episodes that began, by place in the group."""

    @property
    def episodes(self) -> list[dict[str, Any]]:
        """`info["episode"]` of every episode that ended (lost ones have none)."""
        return [info["episode"] for info in self.final_infos.values() if "episode" in info]


@dataclass(frozen=True)
class Layout:
    """Shape of the memory of `num_envs` environments."""

    num_envs: int
    frame_shape: tuple[int, ...]
    """(H, W, C)"""
    action_shape: tuple[int, ...]
    action_dtype: str

    @property
    def record(self) -> np.dtype[Any]:
        """The arrays, one after another."""
        rows = self.num_envs
        return np.dtype(
            [
                ("frames", np.uint8, (rows, *self.frame_shape)),
                ("final_frames", np.uint8, (rows, *self.frame_shape)),
                ("actions", self.action_dtype, (rows, *self.action_shape)),
                ("rewards", np.float32, (rows,)),
                ("terminated", np.bool_, (rows,)),
                ("truncated", np.bool_, (rows,)),
                ("tracks", "S32", (rows,)),
            ],
            align=True,
        )

    def create_memory(self) -> int:
        """File descriptor of new shared memory.

        Raises:
            MemoryError: if the machine cannot give that much.
        """
        size = self.record.itemsize
        descriptor = os.memfd_create("kart_jax")
        try:
            os.posix_fallocate(descriptor, 0, size)  # fail here, not by SIGBUS in a step
        except OSError as error:
            os.close(descriptor)
            raise MemoryError(
                f"no {size / 2**20:.0f} MiB of shared memory for the frames: {error.strerror};"
                " use smaller frames or fewer environments"
            ) from error
        return descriptor


class Slots:
    """One row per environment: what it is to do, and what came of it."""

    def __init__(self, layout: Layout, descriptor: int | None) -> None:
        """Attach the shared memory `descriptor`, or private memory if there is none."""
        record = layout.record
        buffer: Any = bytearray(record.itemsize)
        if descriptor is not None:
            buffer = mmap(descriptor, record.itemsize)
        arrays = np.frombuffer(buffer, record, count=1)[0]
        self.frames: NDArray[np.uint8] = arrays["frames"]
        self.final_frames: NDArray[np.uint8] = arrays["final_frames"]
        self.actions: NDArray[Any] = arrays["actions"]
        self.rewards: NDArray[np.float32] = arrays["rewards"]
        self.terminated: NDArray[np.bool_] = arrays["terminated"]
        self.truncated: NDArray[np.bool_] = arrays["truncated"]
        self.tracks: NDArray[np.bytes_] = arrays["tracks"]


def send_object(link: socket.socket, value: Any, descriptors: tuple[int, ...] = ()) -> None:
    """Send any picklable value, and file descriptors with it."""
    payload = pickle.dumps(value)
    socket.send_fds(link, [OBJECT], descriptors)
    link.sendall(struct.pack("<Q", len(payload)) + payload)


def receive_object(link: socket.socket) -> Any:
    """The value whose mark `OBJECT` has just been read.

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
