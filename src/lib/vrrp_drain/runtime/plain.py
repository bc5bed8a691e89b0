"""Text of others, on a terminal or in a log: what would move the cursor, change colours or turn the line around is shown, not done."""


def plain(text: str) -> str:
    r"""Return ``text`` with all that is not printable escaped as Python does it, as \x1b."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
