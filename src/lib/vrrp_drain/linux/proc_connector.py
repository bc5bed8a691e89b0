"""The kernel's proc connector, which keepalived's track_process needs: it answers in the initial network namespace only."""

import os
import socket
import struct

_NETLINK_CONNECTOR = 11  # linux/netlink.h
_CN_IDX_PROC, _CN_VAL_PROC = 1, 1  # linux/connector.h
_LISTEN, _IGNORE = 1, 2  # linux/cn_proc.h, enum proc_cn_mcast_op
_NLMSG_DONE = 3
_ANSWER_SECONDS = 1.0


def available() -> str:
    """Return nothing where the kernel tells of processes that end, else why not."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_CONNECTOR) as connector:
            connector.bind((0, _CN_IDX_PROC))
            connector.settimeout(_ANSWER_SECONDS)
            connector.send(_request(_LISTEN))
            connector.recv(4096)  # the kernel acknowledges
            connector.send(_request(_IGNORE))
    except TimeoutError:
        return f"the kernel did not answer within {_ANSWER_SECONDS:g} s"
    except OSError as error:
        return str(error.strerror)
    return ""


def _request(operation: int) -> bytes:
    """Return a netlink message with a connector message with the operation (linux/connector.h, struct cn_msg)."""
    body = struct.pack("=IIIIHHI", _CN_IDX_PROC, _CN_VAL_PROC, 0, 0, 4, 0, operation)
    return struct.pack("=IHHII", 16 + len(body), _NLMSG_DONE, 0, 0, os.getpid()) + body
