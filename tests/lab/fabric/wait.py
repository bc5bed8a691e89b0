"""Waiting for something in another process: bounded, and it says what for."""

import time
from collections.abc import Callable


def until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Return when ``condition`` holds. Raises TimeoutError that names ``what``."""
    end = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        if now > end:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(min(0.1, max(0.01, now - asked)))  # what we wait for needs a slow machine's processor more than who asks
