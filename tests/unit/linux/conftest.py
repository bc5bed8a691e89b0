"""What the tests of netlink's modules share."""

import socket

import pytest

from unit.support.netlink import FakeKernel


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    """Every socket that is opened leads to this kernel."""
    fake = FakeKernel()
    monkeypatch.setattr(socket, "socket", fake.open)
    return fake
