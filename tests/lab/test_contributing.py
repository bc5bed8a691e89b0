"""The scenario that CONTRIBUTING.md shows."""

import re
from pathlib import Path
from typing import Any

from lab.conftest import MakeCluster


def test_the_scenario_that_is_shown_runs(make_cluster: MakeCluster) -> None:
    """Whoever copies it has a test that passes."""
    section = Path(__file__).parents[2].joinpath("CONTRIBUTING.md").read_text().partition("## Write a lab scenario\n")[2]
    (text,) = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    found: dict[str, Any] = {}
    exec(compile(text, "CONTRIBUTING.md", "exec"), found)
    (scenario,) = (function for name, function in found.items() if name.startswith("test_"))
    scenario(make_cluster)
