"""What a line for people must not have in it."""

import re

_OF_PYTHON = re.compile(
    r"\[Errno|invalid literal|out of range|codec can't|object at 0x|Traceback|\w(Error|Exception|Disconnected|StatusLine)\(|\bNone\b"
)


def of_python(text: str) -> bool:
    """Tell whether a text has words in it that an exception of Python's is made of, instead of what happened."""
    return _OF_PYTHON.search(text) is not None
