"""A client's program under way: one module of ours in the client's namespace, and the JSON lines that it leaves behind."""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from lab.fabric.namespace import Namespace, terminate

ENVIRONMENT = {"PATH": "/usr/bin", "PYTHONPATH": str(Path(__file__).parents[2])}
Self = TypeVar("Self", bound="Program")


class Program:
    """Runs from entry to exit. The module gets its settings as JSON, ends at SIGTERM, and writes its lines to ``into`` then."""

    def __init__(self, client: Namespace, module: str, settings: Mapping[str, Any]) -> None:
        self._client, self._module, self._settings = client, module, settings

    def hear(self, line: str) -> None:
        """Take one line of the program's stdout, in a thread of its own."""

    def finish(self, lines: Sequence[dict[str, Any]]) -> None:
        """Take what the program wrote at its end."""
        raise NotImplementedError

    def __enter__(self: Self) -> Self:
        self._scratch = tempfile.TemporaryDirectory(prefix="load-")
        self._into = Path(self._scratch.name) / "lines"
        settings = json.dumps({**self._settings, "into": str(self._into)})
        command = [sys.executable, "-m", f"lab.{self._module}", settings]
        self._process = self._client.popen(command, ENVIRONMENT, stdout=subprocess.PIPE)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        terminate(self._process)
        self._listener.join()
        lines = [json.loads(line) for line in self._into.read_text().splitlines()] if self._into.exists() else []
        self._scratch.cleanup()
        self.finish(lines)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.hear(line.decode())
