"""Text for people. What others wrote moves no cursor, changes no colour and turns no line around: it is shown, not done."""

import time


def plain(text: str) -> str:
    r"""Return ``text`` with all that is not printable escaped as Python does it, as \x1b."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def utc(seconds: float) -> str:
    """Return a time since the epoch as people read it."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
