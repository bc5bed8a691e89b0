"""Which of a lab test's parameters `make test` plays: the mark `samples` names them."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LAB = Path(__file__).parents[1] / "lab"


def samples() -> Iterator[str]:
    """Yield what the marks name, as node ids."""
    for path in sorted(LAB.glob("test_*.py")):
        functions = [each for each in ast.parse(path.read_text()).body if isinstance(each, ast.FunctionDef)]
        for function, each in ((found, each) for found in functions for each in found.decorator_list):
            if isinstance(each, ast.Call) and ast.unparse(each.func) == "pytest.mark.samples":
                yield from (f"tests/lab/{path.name}::{function.name}[{ast.literal_eval(name)}]" for name in each.args)


def collected(mark: str) -> set[str]:
    """Return the lab's tests with ``mark``, as pytest finds them."""
    command = [sys.executable, "-m", "pytest", "tests/lab", "-m", mark, "--collect-only", "--quiet", "-p", "no:cacheprovider"]
    environment = {"PYTHONPATH": "lib:tests", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=LAB.parents[1], env=environment, capture_output=True, text=True, check=True)
    return {line for line in done.stdout.splitlines() if "::" in line}


def test_samples_are_parameters_that_there_are() -> None:
    """`make test` plays each setting that a mark names, and leaves others of such a test to `make thorough`."""
    named = {*samples()}
    assert named
    assert named <= collected("not thorough")
    assert {each.partition("[")[0] for each in named} <= {each.partition("[")[0] for each in collected("thorough")}
