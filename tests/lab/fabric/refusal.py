"""A kernel that lacks a kind of netlink: whatever vrrpctl runs on a node, and starts there, cannot open such a socket.

    python refusal.py PROGRAM PROTOCOL... -- ARGUMENT...

A seccomp filter (seccomp(2)) answers socket(AF_NETLINK, any, PROTOCOL) as a kernel without that protocol does, with EPROTONOSUPPORT.
"""

import ctypes
import errno
import os
import platform
import shutil
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .node import Node

NETFILTER, SOCK_DIAG = 12, 4  # NETLINK_NETFILTER, NETLINK_SOCK_DIAG, linux/netlink.h
_SOCKET = {"x86_64": 41, "aarch64": 198}  # the number of socket(2)
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2  # linux/prctl.h, linux/seccomp.h
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # SECCOMP_RET_*
_NUMBER, _FIRST, _THIRD = 0, 16, 32  # where struct seccomp_data has the call and its arguments
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter


def refuse(node: "Node", *protocols: int) -> None:
    """From now on, until its packages are installed anew, ``node``'s vrrpctl finds a kernel without ``protocols``."""
    vrrpctl = node.vcap / "packages/vrrp-drain/bin/vrrpctl"
    real = vrrpctl.with_name("vrrpctl.real")
    vrrpctl.rename(real)  # the file itself is shared with other nodes
    shutil.copy(__file__, vrrpctl.with_name("refusal.py"))
    here = Path("/var/vcap/packages/vrrp-drain/bin")
    numbers = " ".join(map(str, protocols))
    vrrpctl.write_text(f'#!/bin/sh\nexec /usr/bin/python3 -I {here}/refusal.py {here}/{real.name} {numbers} -- "$@"\n')
    vrrpctl.chmod(0o755)


def _filter(protocols: list[int]) -> bytes:
    refused = len(protocols) + 1
    program = [
        *((_LOAD, 0, 0, _NUMBER), (_EQUAL, 0, refused + 2, _SOCKET[platform.machine()])),
        *((_LOAD, 0, 0, _FIRST), (_EQUAL, 0, refused, socket.AF_NETLINK)),
        (_LOAD, 0, 0, _THIRD),
        *((_EQUAL, len(protocols) - place, 0, protocol) for place, protocol in enumerate(protocols)),
        *((_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | errno.EPROTONOSUPPORT)),
    ]
    return b"".join(_INSTRUCTION.pack(*each) for each in program)


def main() -> None:
    end = sys.argv.index("--")
    program, protocols, arguments = sys.argv[1], [int(each) for each in sys.argv[2:end]], sys.argv[end + 1 :]
    code = ctypes.create_string_buffer(_filter(protocols))
    described = ctypes.create_string_buffer(struct.pack("@HP", len(code) // _INSTRUCTION.size, ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value, pointer in ((_PR_SET_NO_NEW_PRIVS, 1, None), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(described))):
        if libc.prctl(option, ctypes.c_ulong(value), pointer, ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
            raise OSError(ctypes.get_errno(), "no seccomp filter")
    os.execv(program, [program, *arguments])


if __name__ == "__main__":
    main()
