"""Other programs in a machine than the one that tests has: another Python, haproxy or keepalived, at the path where it is looked for.

With LAB_PYTHON=/path/to/python3.10 in the environment that is the instances' /usr/bin/python3, and our package is compiled with it.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from .agent import PATH

Programs = Mapping[str, Path]  # where it is looked for -> the program, or a file that it reads, that is to be there
_PYTHON = "/usr/bin/python3"


def of_environment() -> Programs:
    """Return what every instance gets."""
    python = os.environ.get("LAB_PYTHON")
    return {_PYTHON: Path(python)} if python else {}


@contextmanager
def path_for_packaging() -> Iterator[str]:
    """Give the PATH of a compilation VM of which the instances are made."""
    with TemporaryDirectory(prefix="compilers-") as first:
        for looked_for, program in of_environment().items():
            Path(first, Path(looked_for).name).symlink_to(program)
        yield f"{first}:{PATH}"
