"""The text of haproxy's configuration, as the haproxy that runs was started with it (haproxy's management guide, section 3)."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

SECTION = re.compile(
    "global|defaults|frontend|listen|backend|peers|resolvers|mailers|userlist|program|cache|ring|http-errors|log-forward|log-profile"
    "|traces|crt-store|acme|fcgi-app"
)
_MOST = 8 << 20  # bytes that are read of one file


def text_of(pid: int) -> str:
    """Return what the files say with which the process was started, read where it sees them; nothing of what cannot be read."""
    place = Path(f"/proc/{pid}")
    try:
        words = (place / "cmdline").read_text(errors="replace").split("\0")
    except OSError:  # it has ended
        return ""
    return "\n".join(_text(place, name) for name in _files(words))


def _files(words: Sequence[str]) -> Iterator[str]:
    """Yield the files of a command line: after each -f up to the next option, and all that follows --."""
    taken = False
    for number, word in enumerate(words):
        if word == "--":
            yield from filter(None, words[number + 1 :])
            return
        if word.startswith("-"):
            taken = word == "-f"
        elif taken and word:
            yield word


def _text(place: Path, name: str) -> str:
    """Return the text of a file, or of a directory's .cfg files, as the process ``place`` sees them."""
    path = place / "root" / name.lstrip("/") if name.startswith("/") else place / "cwd" / name
    try:
        return "\n".join(_read(each) for each in (sorted(path.glob("*.cfg")) if path.is_dir() else [path]))
    except OSError:
        return ""


def _read(path: Path) -> str:
    """Read a regular file, which may be a link's: what it says is shown to nobody. Raises OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY), "rb") as file:
        return file.read(_MOST).decode(errors="replace") if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else ""
