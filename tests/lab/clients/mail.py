"""A mail server that takes everything: the lines that clients send, one text for every mail (RFC 5321)."""

import socket
import threading
from types import TracebackType

from lab.fabric.namespace import Namespace


class MailServer:
    """Listens in a machine's network from entry to exit; ``mails`` are the dialogues, as far as they have come."""

    def __init__(self, machine: Namespace, address: str, port: int) -> None:
        self._listener = machine.in_network(lambda: socket.create_server((address, port)))
        self.mails: list[str] = []

    def __enter__(self) -> "MailServer":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def _take(self, connection: socket.socket) -> None:
        place = len(self.mails)
        self.mails.append("")
        with connection, connection.makefile("rwb", buffering=0) as stream:
            stream.write(b"220 ready\r\n")
            in_data = False
            for line in stream:
                self.mails[place] += line.decode(errors="replace")
                word = line.split()[0].upper() if line.split() else b""
                if in_data and line.strip() != b".":
                    continue
                if word == b"QUIT":
                    stream.write(b"221 bye\r\n")
                    return
                in_data = word == b"DATA"
                stream.write(b"354 go on\r\n" if in_data else b"250 ok\r\n")
