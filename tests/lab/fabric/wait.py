"""Waiting for something in another process: bounded, and it says what for."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Return when ``condition`` holds. Raises TimeoutError that names ``what``."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.01)
