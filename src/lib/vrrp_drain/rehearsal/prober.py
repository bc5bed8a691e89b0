"""Has a client open connections to the VIP, many a second, in a thread of its own: its clock and its sockets.

A beat that is missed is left out, never made up for, so that no peer gets more than ``rate`` a second.
"""

import errno
import itertools
import os
import selectors
import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress

from vrrp_drain.linux import bpf
from vrrp_drain.linux.neighbour import inquire
from vrrp_drain.runtime.errors import SystemFault

from . import handshake
from .client import Client, Frame, Target
from .tally import PATIENCE

_ETH_P_ALL, _ETH_P_IP, _ETH_P_ARP, _ETH_P_IPV6 = 0x0003, 0x0800, 0x0806, 0x86DD  # linux/if_ether.h
_ICMP6, _ADVERTISEMENT = 58, 136
_SO_TIMESTAMPNS = 35  # linux/socket.h, and the type of its control message
_TIMESPEC = struct.Struct("@ll")
_LINGER = struct.pack("ii", 1, 0)  # close at once, by RST: nothing is left in TIME_WAIT
_BURST = 64
_PORTS = 1.5  # times the rate: when a port is used again its last connection has long been given up
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


class Prober:
    """Use it as a context manager: it works from ``start`` to ``stop``, and ``client`` knows what came of it. Needs CAP_NET_RAW."""

    def __init__(self, client: Client, rate: int) -> None:
        self.client = client
        self.rate = rate
        self._fault: Exception | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)
        self._connecting: dict[socket.socket, float] = {}

    def __enter__(self) -> "Prober":
        """Raises SystemFault."""
        target = self.client.target
        try:
            with ExitStack() as failing:
                self._selector = failing.enter_context(selectors.DefaultSelector())
                self._wire = failing.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
                bpf.attach(self._wire, bpf.program(*_wanted(target)))
                self._wire.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
                self._wire.bind((target.interface, _ETH_P_ALL))
                self._selector.register(self._wire, selectors.EVENT_READ)
                self._question = inquire(target.interface, target.mac, target.vip)
                failing.callback(self._question.close)
                reserved = [failing.enter_context(_reserved_port(target)) for _ in range(int(self.rate * _PORTS))]
                self._ports = itertools.cycle([each.getsockname()[1] for each in reserved])
                self._opened = failing.pop_all()
        except OSError as error:
            what = f"cannot connect to {target.vip} by hand on {target.interface}"
            raise SystemFault(f"{what}: {os.strerror(error.errno or 0)}; run as root") from error
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        for connecting in self._connecting:
            connecting.close()
        self._opened.close()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Begin no further connection and wait for those under way, about a second at most. Raises SystemFault where it had failed."""
        self._end()
        if self._thread.is_alive() or self._fault is not None:
            why = repr(self._fault) if self._fault else "it does not end"
            raise SystemFault(f"the probe of {self.client.target.vip} failed ({why}): nobody knows what clients felt") from self._fault

    def _end(self) -> None:
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(2 * PATIENCE)

    def _run(self) -> None:
        try:
            self._beat(time.monotonic())
        except Exception as error:  # handed to whoever stops us
            self._fault = error

    def _beat(self, started: float) -> None:
        beats = 0
        while self._connecting or self.client.waits or not self._stopping.is_set():
            now = time.monotonic()
            if not self._stopping.is_set() and now >= started + beats / self.rate:
                beats = int((now - started) * self.rate) + 1
                self._open(now)
            self._hear(max(0.0, started + beats / self.rate - time.monotonic()) if not self._stopping.is_set() else PATIENCE / 10)
            self._give_up(time.monotonic())

    def _open(self, now: float) -> None:
        if self.client.connects_here:
            self._connect(now)
            return
        port = next(self._ports)
        if not self._send(self.client.open(port, now)):
            self.client.not_sent(port, time.monotonic())

    def _connect(self, now: float) -> None:
        target = self.client.target
        connecting = socket.socket(_FAMILY[target.vip.version], socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self._connecting[connecting] = now
        failure = connecting.connect_ex((str(target.vip), target.port))
        if failure == errno.EINPROGRESS:
            self._selector.register(connecting, selectors.EVENT_WRITE)
        else:
            self._connected(connecting, failure)

    def _connected(self, connecting: socket.socket, failure: int) -> None:
        self.client.connected(self._connecting.pop(connecting), failure, time.monotonic())
        connecting.close()

    def _hear(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if key.fileobj is self._wire:
                self._receive()
            elif isinstance(key.fileobj, socket.socket):
                self._selector.unregister(key.fileobj)
                self._connected(key.fileobj, key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _receive(self) -> None:
        for _ in range(_BURST):
            try:
                packet, ancillary, _, _ = self._wire.recvmsg(2048, 64)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.ENETDOWN, errno.ENODEV):  # the connections that follow say so
                    return
                raise
            if reset := self.client.hear(packet, _arrival(ancillary, time.monotonic(), time.time())):
                self._send(reset)

    def _give_up(self, now: float) -> None:
        for connecting in [each for each, sent in self._connecting.items() if now - sent >= PATIENCE]:
            self._selector.unregister(connecting)
            self._connected(connecting, errno.ETIMEDOUT)
        for reset in self.client.give_up(now):
            self._send(reset)
        if self.client.asks(now):
            self._question.answers()  # the client hears them by the other socket
            with suppress(OSError):  # the interface is down: nobody can answer
                self._question.ask()

    def _send(self, frame: Frame) -> bool:
        target = self.client.target
        ether_type = _ETH_P_IP if target.vip.version == 4 else _ETH_P_IPV6
        try:
            self._wire.sendto(frame.packet, (target.interface, ether_type, 0, 0, bytes.fromhex(frame.mac.replace(":", ""))))
        except OSError:
            return False
        return True


def _wanted(target: Target) -> tuple[list[bpf.Condition], ...]:
    """Return what to hear: who says to have the VIP, whoever it is, and what the VIP sends us."""
    vip, own = target.vip.packed, target.own.packed
    if target.vip.version == 4:
        ip = bpf.ether_type(_ETH_P_IP)
        return (
            [bpf.ether_type(_ETH_P_ARP), bpf.word(14, vip)],
            [ip, bpf.byte(9, handshake.TCP), bpf.word(12, vip), bpf.word(16, own)],
        )
    ip = bpf.ether_type(_ETH_P_IPV6)  # of an address its end is enough here: who reads it compares all of it
    return (
        [ip, bpf.byte(6, _ICMP6), bpf.byte(40, _ADVERTISEMENT), bpf.word(60, vip[12:])],
        [ip, bpf.byte(6, handshake.TCP), bpf.word(20, vip[12:]), bpf.word(36, own[12:])],
    )


def _reserved_port(target: Target) -> socket.socket:
    """Return a socket that keeps everybody else on this machine from the port that it is bound to."""
    reserved = socket.socket(_FAMILY[target.own.version], socket.SOCK_STREAM)
    scope = socket.if_nametoindex(target.interface) if target.own.version == 6 and target.own.is_link_local else 0
    reserved.bind((str(target.own), 0) if target.own.version == 4 else (str(target.own), 0, 0, scope))
    return reserved


def _arrival(ancillary: list[tuple[int, int, bytes]], now: float, by_the_wall: float) -> float:
    """Return when the kernel got the packet, by the monotonic clock: this thread may have waited for the processor since."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return now - max(0.0, by_the_wall - float(seconds) - float(nanoseconds) / 1e9)
    return now
