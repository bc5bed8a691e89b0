"""docs/compatibility.md is written from what ran."""

from datetime import date
from pathlib import Path

import pytest

from machines import compatibility

PAGE = "before\n\n<!-- kernels -->\nold\n<!-- /kernels -->\n\n<!-- pythons -->\nkept\n<!-- /pythons -->\n"


def test_one_table_is_written(tmp_path: Path) -> None:
    """Its old text goes, its day is told, and the rest of the page stays."""
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    compatibility.write("kernels", ["kernel", "passed"], [["5.10", "7"], ["6.1", "8"]], ran=date(2026, 11, 29), page=page)
    table = "| kernel | passed |\n| --- | --- |\n| 5.10 | 7 |\n| 6.1 | 8 |\n\nRan on 2026-11-29.\n"
    assert page.read_text() == PAGE.replace("old\n", table)


def test_a_table_that_the_page_lacks(tmp_path: Path) -> None:
    """What ran is not lost without a word."""
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    with pytest.raises(ValueError, match=r"page\.md has 0 parts programs, not one"):
        compatibility.write("programs", ["a"], [], ran=date(2026, 11, 29), page=page)
    assert page.read_text() == PAGE
