"""Many frames in one call to the kernel: sendmmsg(2), for whoever sends more than a system call each allows."""

import ctypes
import socket
from collections.abc import Sequence

_libc = ctypes.CDLL(None, use_errno=True)


class _Part(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct mmsghdr: a msghdr of which the data alone is used, and what was sent of it."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("data", ctypes.c_void_p),
        ("parts", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("padding", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


class Batch:
    """``frames`` that are sent together, as they are then: whoever changes one in between sends it changed."""

    def __init__(self, frames: Sequence[bytearray]) -> None:
        self._buffers = [(ctypes.c_char * len(each)).from_buffer(each) for each in frames]
        self._parts = (_Part * len(frames))(*(_Part(ctypes.addressof(each), len(each)) for each in self._buffers))
        at, size = ctypes.addressof(self._parts), ctypes.sizeof(_Part)
        self._messages = (_Message * len(frames))(*(_Message(None, 0, at + size * n, 1) for n in range(len(frames))))

    def send(self, opened: socket.socket) -> int:
        """Return how many of them the kernel took."""
        return max(0, int(_libc.sendmmsg(opened.fileno(), self._messages, len(self._messages), 0)))
