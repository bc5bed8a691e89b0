"""docs/compatibility.md: its tables are written from what ran, between `<!-- NAME -->` and `<!-- /NAME -->`."""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/compatibility.md"


def write(section: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, ran: date, page: Path = PAGE) -> None:
    """Put what ran on the day ``ran`` in place of the table ``section``. Raises ValueError where the page has none of that name."""
    lines = [columns, ["---"] * len(columns), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    filled, found = re.subn(
        rf"(<!-- {re.escape(section)} -->\n).*?(<!-- /{re.escape(section)} -->)",
        lambda match: f"{match[1]}{table}\n\nRan on {ran.isoformat()}.\n{match[2]}",
        page.read_text(),
        flags=re.DOTALL,
    )
    if found != 1:
        raise ValueError(f"{page.name} has {found} parts {section}, not one")
    page.write_text(filled)
