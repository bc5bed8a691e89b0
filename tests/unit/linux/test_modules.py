"""What is told of a module that is not there, and kinds of interfaces that are asked for without making one."""

import errno
from pathlib import Path

import pytest

from unit.support.netlink import ACKNOWLEDGED, ERROR, FakeKernel, status
from vrrp_drain.linux import link_kinds, modules
from vrrp_drain.linux.nftables.kernel import Part


@pytest.mark.parametrize(("lock", "said"), [("0\n", "modprobe inet_diag tcp_diag, and name them"), ("", "modprobe inet_diag tcp_diag")])
def test_how_a_module_is_had(tmp_path: Path, lock: str, said: str) -> None:
    """Now and for good; a kernel that does not say whether modules may be loaded may load them."""
    (tmp_path / "modules_disabled").write_text(lock)
    assert modules.mend(["tcp_diag", "inet_diag", "tcp_diag"], tmp_path / "modules_disabled").startswith(said)


def test_where_no_module_is_loaded_any_more(tmp_path: Path) -> None:
    """modprobe would be refused: that is not what is told."""
    (tmp_path / "modules_disabled").write_text("1\n")
    said = modules.mend(["vxlan"], tmp_path / "modules_disabled")
    assert said.startswith("kernel.modules_disabled is 1, so nothing is loaded any more until a reboot: name vxlan in")
    assert "modprobe" not in said


@pytest.mark.parametrize(("answer", "known"), [(errno.EINVAL, True), (errno.EOPNOTSUPP, False)])
def test_a_kind_of_interface(kernel: FakeKernel, answer: int, known: bool) -> None:
    """The kernel finds something wrong with the question: which it is tells whether it has the kind."""
    kernel.replies = [[status(ERROR, answer)]]
    assert link_kinds.known("vxlan") is known
    assert b"vxlan\0" in kernel.asked[0]


@pytest.mark.parametrize("answer", [status(ERROR, errno.EPERM), ACKNOWLEDGED])
def test_an_answer_that_tells_nothing(kernel: FakeKernel, answer: bytes) -> None:
    kernel.replies = [[answer]]
    with pytest.raises(OSError, match=r"not permitted|took a question"):
        link_kinds.known("vxlan")


@pytest.mark.parametrize(
    ("part", "module", "said"),
    [
        (Part(2, "dup"), "nft_dup_ipv4", "dup of IPv4"),
        (Part(10, "dup"), "nft_dup_ipv6", "dup of IPv6"),
        (Part(3, "counter"), "nft_counter", "counter of ARP"),
        (Part(2, "cmp"), "nf_tables", "cmp of IPv4"),
    ],
)
def test_which_module_has_a_part_of_nftables(part: Part, module: str, said: str) -> None:
    assert (part.module, str(part)) == (module, said)
