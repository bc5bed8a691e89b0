"""Our log: one line an event, in UTC, in the job's log directory (so ``bosh logs`` has it) and on stderr."""

import io
import logging
import os
import sys
import time
from pathlib import Path

from . import files
from .plain import plain


class _Formatter(logging.Formatter):
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, command: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s %(instance)s{command}[%(process)d] %(message)s")
        self.instance = ""

    def format(self, record: logging.LogRecord) -> str:
        record.instance = self.instance
        return _lines(super().format(record))

    @staticmethod
    def converter(seconds: float | None) -> time.struct_time:
        return time.gmtime(seconds)


class _FileHandler(logging.FileHandler):
    """Writes to a file of ours alone; ``removed`` is what was there instead."""

    removed = ""

    def _open(self) -> io.TextIOWrapper:
        fd, self.removed = files.open_to_append(Path(self.baseFilename))
        return os.fdopen(fd, "a", encoding="utf-8", errors="backslashreplace")


class _ConsoleFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _lines(super().format(record))


def _lines(text: str) -> str:
    """Return what a line of the log says, with the lines of a traceback below it; whatever else is not printable is escaped."""
    return "\n".join(plain(line) for line in text.split("\n"))


def set_up(command: str, file: Path, *, chatty: bool) -> None:
    """Log to ``file`` and, if ``chatty``, everything to stderr, otherwise warnings only.

    A log that cannot be written never stops a handover: it is said once on stderr.
    """
    logging.raiseExceptions = False
    root = logging.getLogger("vrrp_drain")
    root.setLevel(logging.INFO)
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(logging.INFO if chatty else logging.WARNING)
    console.setFormatter(_ConsoleFormatter("%(message)s"))
    root.addHandler(console)
    try:
        to_file = _FileHandler(file)
    except OSError as error:
        root.warning("no log is kept: %s: %s", error.filename, error.strerror)
        return
    to_file.setFormatter(_Formatter(command))
    root.addHandler(to_file)
    if to_file.removed:
        root.warning("%s was no log of ours (%s): removed, this one begins anew; who can write to %s?", file, to_file.removed, file.parent)


def say_where(instance: object) -> None:
    """Name the instance in every further line of the file; before the configuration is read nobody knows it."""
    for handler in logging.getLogger("vrrp_drain").handlers:
        if isinstance(handler.formatter, _Formatter):
            handler.formatter.instance = f"{instance} "


class Complaints:
    """Says what goes wrong again and again once, and once that it is over."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[str, str] = {}

    def about(self, subject: str, text: str) -> None:
        if self._said.get(subject) != text:
            self._log.warning("%s", text)
        self._said[subject] = text

    def over(self, subject: str) -> None:
        if said := self._said.pop(subject, ""):
            self._log.info("no longer so: %s", said)
