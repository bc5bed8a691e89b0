"""Programs of the operator's that we run: what they get, and how their end is told."""

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # as bosh-agent gives it to lifecycle scripts
KEPT = 4096  # bytes of what one says that are kept
_LINES = 3  # of these are told


def how_it_ended(code: int) -> str:
    """Return the words for an exit code that is not 0; a negative one is a signal's number (subprocess.Popen.returncode)."""
    return f"ended with status {code}" if code > 0 else f"was ended by signal {-code}"


def last_lines(said: bytes) -> str:
    """Return the last that it said, as the end of a sentence; nothing where it said nothing."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    text = " | ".join(lines[-_LINES:])
    return f", having said: {''.join(c if c.isprintable() else '?' for c in text)}" if text else ""
