"""Listeners where the kernel has no sock_diag."""

import socket
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from vrrp_drain.linux import proc_net
from vrrp_drain.linux.sock_diag import LISTEN, Socket

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
REST = "00000000:00000000 00:00000000 00000000     0        0"


@pytest.mark.skipif(sys.byteorder != "little", reason="the file below was written by a little-endian machine")
def test_what_the_kernel_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listeners alone, of both families, with their inodes."""
    v4, v6 = tmp_path / "tcp", tmp_path / "tcp6"
    v4.write_text(
        f"{HEAD}   0: 0100007F:1F90 00000000:0000 0A {REST} 4711 1 0000000000000000 100 0 0 10 0\n"
        f"   1: 0A00000A:01BB C800000A:9C40 01 {REST} 4712 1 0000000000000000 20 4 30 10 -1\n"
    )
    v6.write_text(f"{HEAD}   0: {'0' * 32}:0050 {'0' * 32}:0000 0A {REST} 4713 1 0000000000000000 100 0 0 10 0\n")
    monkeypatch.setattr(proc_net, "FILES", (v4, v6))
    assert proc_net.listeners() == [
        Socket(LISTEN, ip_address("127.0.0.1"), 8080, 4711),
        Socket(LISTEN, ip_address("::"), 80, 4713),
    ]
    v6.unlink()
    assert [each.inode for each in proc_net.listeners()] == [4711], "a kernel without IPv6"


def test_of_this_machine() -> None:
    """The kernel's own file tells of a listener that we have."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert (ip_address("127.0.0.1"), port) in {(each.address, each.port) for each in proc_net.listeners()}
