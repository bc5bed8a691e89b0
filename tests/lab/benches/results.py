"""build/bench/result.json: the one place that writes it, and how many runs it is of."""

import json
import os
from pathlib import Path
from typing import Any

from lab.fabric.release import BUILD

RESULT = BUILD / "bench/result.json"
RUNS = int(os.environ.get("BENCH_RUNS", "10"))  # of each kind; the medians of fewer are rougher, what must hold is the same


def put(parts: dict[str, Any], path: Path = RESULT, *, anew: bool = False) -> Path:
    """Set the keys in ``parts``, and keep the others unless the file is begun ``anew``; whoever reads it never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {} if anew or not path.exists() else json.loads(path.read_text())
    written = path.with_suffix(".new")
    written.write_text(json.dumps({**found, **parts}, indent=2) + "\n")
    return written.replace(path)
