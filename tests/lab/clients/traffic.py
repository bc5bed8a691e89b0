"""What clients do and feel: the load generator's program, run in the client's namespace by load.Load.

    python -m lab.clients.traffic '{"vip": ..., "port": ..., "rate": ..., "keep_alive": ..., "lane": ..., "keep": ..., "into": path}'

New connections come at a fixed rate, whatever happens to the earlier ones; keep-alive clients hold one connection each.
Every request's outcome is one JSON line with a monotonic time stamp, kept in memory until SIGTERM ends it all and the file
is written: a disk that is busy would look like a slow answer. A running count goes to stdout twice a second: answered, failed,
and of those that were answered the slow ones. A load without an end in sight does not ``keep`` its lines.
"""

import asyncio
import gc
import itertools
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

TIMEOUT = 5.0  # seconds until a client gives up
SLOW_MS = 100.0
KEEP_ALIVE_PAUSE = 0.1  # seconds between two requests on one connection
_HEARTBEAT = 0.005  # seconds
NEW_PORTS = range(10_000, 60_000)  # the kernel takes the others for keep-alive clients
_RESENT_AT = 100  # offset in bytes of tcpi_total_retrans, struct tcp_info of linux/tcp.h
LANE = 10_000  # ports of each load where several run side by side: lanes 1 to 4


class Traffic:
    """Runs until it is told to stop; nothing is retried, every outcome counts."""

    def __init__(self, vip: str, port: int, rate: float, keep_alive: int, lane: int, keep: bool) -> None:
        self._vip, self._port, self._rate, self._keep_alive = vip, port, rate, keep_alive
        self.lines: list[dict[str, Any]] = []
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # a port that was used a minute ago may meet its own TIME_WAIT on a node that has just got the VIP
        self._ports = itertools.cycle(NEW_PORTS[lane * LANE : (lane + 1) * LANE] if lane else NEW_PORTS)
        self._keeps = keep
        self._answered = self._failed = self._slow = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self._begin(self._note_stalls())
        self._begin(self._report())
        for client in range(self._keep_alive):
            self._begin(self._stay_connected(client))
        await self._open_connections()
        await asyncio.gather(*self._tasks)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if task.cancelled() or task.exception():
            self._stopping.set()  # run raises it: a load of which a part is missing counts too little
        else:
            self._tasks.discard(task)

    async def _open_connections(self) -> None:
        due = time.monotonic()
        while self._rate and not self._stopping.is_set():
            self._begin(self._new_connection())
            due += 1 / self._rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await self._stopping.wait()

    async def _new_connection(self) -> None:
        started = time.monotonic()
        phase = "connect"
        outcome, node, syns = "timeout", "", 0
        writer: asyncio.StreamWriter | None = None
        try:
            async with within(TIMEOUT):
                local = ("::" if ":" in self._vip else "0.0.0.0", next(self._ports))
                reader, writer = await asyncio.open_connection(self._vip, self._port, local_addr=local)
                phase, syns = "request", resent(writer.get_extra_info("socket"))
                node = await self._ask(reader, writer, "close")
                outcome = "ok"
        except (OSError, EOFError) as error:
            outcome = _outcome(error)
        finally:
            if writer:
                writer.close()
        self._record("new", started, outcome, phase, node, syns_resent=syns)

    async def _stay_connected(self, client: int) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        while not self._stopping.is_set():
            started = time.monotonic()
            phase = "request" if connection else "connect"
            outcome, node = "timeout", ""
            try:
                async with within(TIMEOUT):
                    if connection is None:
                        connection = await asyncio.open_connection(self._vip, self._port)
                    phase = "request"
                    node = await self._ask(*connection, "keep-alive")
                    outcome = "ok"
            except (OSError, EOFError) as error:
                outcome = _outcome(error)
            self._record("established", started, outcome, phase, node, client=client)
            if outcome != "ok" and connection:
                connection[1].close()
                connection = None
            await asyncio.sleep(KEEP_ALIVE_PAUSE)
            if connection and connection[0].at_eof() and connection[0].exception() is None:
                connection[1].close()  # closed politely between two requests
                connection = None
        if connection:
            connection[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: str) -> str:
        """Send one request and return the name of the node that answered. Raises OSError or EOFError."""
        host = f"[{self._vip}]" if ":" in self._vip else self._vip
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        return (await reader.readexactly(length)).decode()

    def _record(self, kind: str, started: float, outcome: str, phase: str, node: str, **more: Any) -> None:
        ms = (time.monotonic() - started) * 1000
        if outcome == "ok":
            self._answered += 1
            self._slow += ms > SLOW_MS
        else:
            self._failed += 1
        self._keep(kind=kind, t=started, ms=round(ms, 3), outcome=outcome, phase=phase, node=node, **more)

    def _keep(self, **line: Any) -> None:
        if self._keeps:
            self.lines.append(line)

    async def _note_stalls(self) -> None:
        """When the machine did not run us: what a request waited in that time is not the VIP's."""
        while not self._stopping.is_set():
            due = time.monotonic() + _HEARTBEAT
            await asyncio.sleep(_HEARTBEAT)
            late = time.monotonic() - due
            if late > _HEARTBEAT:
                self._keep(kind="stall", t=due, ms=late * 1000)

    async def _report(self) -> None:
        while not self._stopping.is_set():
            print(self._answered, self._failed, self._slow, flush=True)
            await asyncio.sleep(0.5)


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError in a block that takes longer: what asyncio.timeout does from Python 3.11 on."""
    task, expired = asyncio.current_task(), False
    assert task is not None

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = asyncio.get_running_loop().call_later(seconds, expire)
    try:
        yield
    except asyncio.CancelledError:
        if expired:
            raise TimeoutError from None
        raise
    finally:
        timer.cancel()


def resent(connected: socket.socket) -> int:
    """Return how often a packet of this connection, which has just been established, was sent again: none but the SYN was sent yet."""
    info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RESENT_AT + 4)
    return int.from_bytes(info[_RESENT_AT:], sys.byteorder)


def _outcome(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "reset"
    return "closed" if isinstance(error, EOFError) else "unreachable"


def main() -> None:
    settings = json.loads(sys.argv[1])
    with suppress(PermissionError):  # what it measures is the VIP, not the scheduler of a busy machine
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
    if settings["keep"]:
        gc.disable()  # a collection would look like a slow answer
    into = Path(settings.pop("into"))
    lines = asyncio.run(_run(settings))
    into.write_text("".join(json.dumps(line) + "\n" for line in lines))


async def _run(settings: dict[str, Any]) -> list[dict[str, Any]]:
    traffic = Traffic(**settings)
    await traffic.run()
    return traffic.lines


if __name__ == "__main__":
    main()
