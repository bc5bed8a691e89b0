"""A command of vrrpctl's that the watcher has run beside itself, one at a time: it never waits for it."""

import subprocess

from vrrp_drain.runtime.paths import Paths


class OwnCommand:
    """``start`` it; ask now and then whether it ``runs``, and when it does not, for its ``failure``."""

    def __init__(self, paths: Paths, *arguments: str) -> None:
        self._command = [str(paths.vrrpctl), *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._failure = ""

    def start(self, *arguments: str) -> None:
        """Run it, with further ``arguments``."""
        command = [*self._command, *arguments]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        except OSError as error:
            self._failure = f"cannot run {' '.join(command)} ({error.strerror})"

    def runs(self) -> bool:
        """Tell whether it is under way."""
        if self._process is None:
            return False
        code = self._process.poll()
        if code is None:
            return True
        self._process = None
        if code:
            self._failure = f"vrrpctl {' '.join(self._command[1:])} ended with {code}"
        return False

    def failure(self) -> str:
        """Return how the last one failed, or nothing; each failure once."""
        failure, self._failure = self._failure, ""
        return failure
