"""Running a hook: a program that gets the notice on its standard input and in its environment."""

import json
import os
import selectors
import signal
import subprocess
import time

from vrrp_drain.config.receivers import Hook
from vrrp_drain.runtime.programs import KEPT, PATH, how_it_ended, last_lines

from .delivery import Message, Refused

_ENV = "/usr/bin/env"  # sets variables, and is not what the operator knows the hook by


class HookDelivery:
    """Runs ``hook`` in a session of its own, with none of our file descriptors."""

    retry_for = 0.0

    def __init__(self, hook: Hook) -> None:
        programs = [word for word in hook.command if word.startswith("/") and word != _ENV]
        self.name = programs[0] if programs else _ENV
        self._hook = hook
        self._cut = os.eventfd(0, os.EFD_CLOEXEC)

    def __del__(self) -> None:
        os.close(self._cut)

    def cut(self) -> None:
        os.eventfd_write(self._cut, 1)

    def send(self, message: Message) -> None:
        """Run the program to its end, or kill its process group. Raises Refused unless it ends with status 0 in time."""
        notice = os.memfd_create("notice")
        try:
            os.write(notice, json.dumps(message.as_json()).encode() + b"\n")
            os.lseek(notice, 0, os.SEEK_SET)
            process = subprocess.Popen(
                self._hook.command,
                stdin=notice,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(message),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise Refused(f"could not be started: {error.strerror}") from error
        finally:
            os.close(notice)
        with process:
            ended, said = self._watch(process)
        if ended:
            raise Refused(f"{ended}{said}")
        if process.returncode:
            raise Refused(f"{how_it_ended(process.returncode)}{said}")

    def _watch(self, process: "subprocess.Popen[bytes]") -> tuple[str, str]:
        """Return why it had to be killed, or nothing, and the last that it said.

        Its end is what counts: a child that it leaves behind may keep its output open.
        """
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        output = process.stdout.fileno()
        deadline = time.monotonic() + self._hook.timeout
        said, why = b"", ""
        pidfd = os.pidfd_open(process.pid)
        try:
            with selectors.DefaultSelector() as selector:
                for each in (pidfd, output, self._cut):
                    selector.register(each, selectors.EVENT_READ)
                while not why:
                    left = deadline - time.monotonic()
                    ready = {key.fd for key, _ in selector.select(max(left, 0.0))}
                    if self._cut in ready:
                        why = "was killed, because the watcher ends"
                    elif left <= 0:
                        why = f"was killed, because it took longer than {self._hook.timeout:g} s"
                    elif output in ready:
                        read = os.read(output, 65536)
                        said = (said + read)[-KEPT:]
                        if not read:
                            selector.unregister(output)
                    elif pidfd in ready:
                        break
        finally:
            os.close(pidfd)
            if why:
                os.killpg(process.pid, signal.SIGKILL)
        return why, last_lines(said)


def environment(message: Message) -> dict[str, str]:
    """Return the environment of a hook: what a shell script needs without reading JSON."""
    notice = message.notice
    given = {
        "KIND": notice.kind.value,
        "STATE": notice.state,
        "PREVIOUS": notice.previous,
        "CAUSE": notice.cause.value,
        "REASON": notice.reason,
        "INSTANCE": notice.instance,
        "VIP": notice.vip,
        "MASTER": notice.master or "",
    }
    return {"PATH": PATH, **{f"VRRP_DRAIN_{name}": value for name, value in given.items()}}
