"""`make pythons`: the unit tests with each Python that a stemcell has or may have, and a rolling upgrade whose instances have it.

    python -m machines.pythons [VERSION ...]

Each gets a venv of its own from the lock of the tests. In CI each that is asked for must be there; elsewhere it is told which are not.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from lab.fabric.release import BUILD, REPOSITORY

from . import compatibility
from .programs import own
from .rolling_upgrade import Outcome
from .suites import Suite, SuiteError

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
_SUITES = {"3.11": "bookworm", "3.13": "trixie"}
_BUILD = BUILD / "pythons"
_LOCK = REPOSITORY / "tests/requirements.txt"
_WHEELS = Path("usr/share/python-wheels")  # where Debian has what ensurepip would bring along
_LIMIT = 1800  # seconds for one command: what hangs is told


class PythonError(Exception):
    """Nothing can be tried with a Python. The text says what went wrong."""


@dataclass(frozen=True)
class Python:
    """One interpreter: its full version, and where it comes from, for people."""

    version: str
    program: Path
    whence: str

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True)
class Result:
    """What came of one version; without ``python`` it was not to be had, and with ``error`` something could not even be tried."""

    version: str
    python: str = ""
    whence: str = ""
    passed: int = 0
    failed: int = 0
    upgrade: Outcome | None = None
    seconds: float = 0.0
    error: str = ""

    @property
    def good(self) -> bool:
        return (
            bool(self.python) and not self.error and self.passed > 0 and not self.failed and self.upgrade is not None and self.upgrade.kept
        )

    def row(self) -> list[str]:
        """Return its line of the table in docs/compatibility.md."""
        if not self.python:
            return [self.version, "not to be had", "", ""]
        units = f"{self.passed} passed, {self.failed} failed"
        return [self.python, self.whence, self.error or units, self.upgrade.text() if self.upgrade else "not tried"]


COLUMNS = ("Python", "from", "unit tests", "rolling upgrade of three instances that have it")


def find(version: str) -> Python | None:
    """Return a Python ``version`` ("3.10"): one on the PATH, one of pyenv's, or one of a Debian suite."""
    for program, whence in _here(version):
        if found := _asked(program, whence):
            return found
    if version not in _SUITES:
        return None
    suite = Suite(_SUITES[version])
    try:
        program = own(suite.tree(f"python{version}", "python3-pip-whl"), f"usr/bin/python{version}")
    except SuiteError as error:
        print(f"Python {version}: {error}", file=sys.stderr)
        return None
    return _asked(program, f"Debian {suite.name}")


def _here(version: str) -> Iterator[tuple[Path, str]]:
    name = f"python{version}"
    if path := shutil.which(name):
        yield Path(path), "this machine"
    root = Path(os.environ.get("PYENV_ROOT", "") or Path.home() / ".pyenv")
    for program in sorted(root.glob(f"versions/{version}*/bin/{name}"), key=_age, reverse=True):
        yield program, "pyenv"


def _age(program: Path) -> list[int]:
    """Return the numbers of ~/.pyenv/versions/NUMBERS/bin/python, to sort by."""
    return [int(each) for each in program.parents[1].name.split(".") if each.isdigit()]


def _asked(program: Path, whence: str) -> Python | None:
    """Ask an interpreter for its version; one that does not start, as pyenv's of a version that is not chosen, is none."""
    code = "import sys; print('%d.%d.%d' % sys.version_info[:3], sys.executable)"
    done = subprocess.run([program, "-Ic", code], capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    version, _, executable = done.stdout.strip().partition(" ")
    return Python(version, Path(executable).resolve(), whence)


def venv(python: Python, build: Path = _BUILD, lock: Path = _LOCK) -> Path:
    """Return the interpreter of a venv that has what ``lock`` names, made only when the lock or the Python is new. Raises PythonError."""
    directory = build / python.minor / "venv"
    interpreter = directory / "bin/python"
    state = f"{python.program} {python.version} {hashlib.sha256(lock.read_bytes()).hexdigest()}\n"
    ready = directory / ".ready"
    if ready.exists() and ready.read_text() == state:
        return interpreter
    _run([python.program, "-m", "venv", "--clear", "--without-pip", directory])
    _run([interpreter, *_pip(python), "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", lock])
    ready.write_text(state)
    return interpreter


def _pip(python: Python) -> list[str]:
    """Return how a venv without a pip installs: with the wheel that its Python brings along, as ensurepip would."""
    code = "import ensurepip; print(ensurepip.__path__[0])"
    done = subprocess.run([python.program, "-Ic", code], capture_output=True, text=True, check=False)
    places = [Path(done.stdout.strip()) / "_bundled"] if done.returncode == 0 else []
    places += [top / _WHEELS for top in (python.program.parents[1], Path("/"))]
    for wheel in (wheel for place in places for wheel in sorted(place.glob("pip-*.whl"))):
        return [str(wheel / "pip")]
    raise PythonError(f"Python {python.version} has no pip: its wheel is in none of {', '.join(map(str, places))}")


def unit_tests(interpreter: Path, report: Path) -> tuple[int, int]:
    """Run tests/unit; return how many passed and how many did not. A DeprecationWarning of ours is a failure. Raises PythonError."""
    report.unlink(missing_ok=True)
    pytest = [str(interpreter), "-m", "pytest", "tests/unit", "--quiet", "-p", "no:cacheprovider"]
    side_by_side = ["--numprocesses", "auto", "--dist", "worksteal"]
    environment = {**os.environ, "PYTHONPATH": "lib:tests"}
    subprocess.run([*pytest, *side_by_side, f"--junitxml={report}"], cwd=REPOSITORY, env=environment, timeout=_LIMIT, check=False)
    if not report.exists():
        raise PythonError(f"the unit tests ended without {report.name}")
    return counted(report.read_text())


def counted(report: str) -> tuple[int, int]:
    """Return how many tests of a JUnit report passed, and how many did not: failed, or never began. The skipped are neither."""
    suite = next(xml.etree.ElementTree.fromstring(report).iter("testsuite"))
    tests, skipped, *wrong = (int(suite.attrib[each]) for each in ("tests", "skipped", "failures", "errors"))
    return tests - skipped - sum(wrong), sum(wrong)


def upgrade(python: Python, interpreter: Path, into: Path) -> Outcome:
    """Play the upgrade with ``python`` in the instances, and in the tests that watch it. Raises PythonError."""
    into.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": "lib:tests", "LAB_PYTHON": str(python.program)}
    command = [str(interpreter), "-m", "machines.rolling_upgrade", str(into)]
    subprocess.run(command, cwd=REPOSITORY, env=environment, timeout=_LIMIT, check=False)
    if not into.exists():
        raise PythonError("the rolling upgrade did not come to its end")
    return Outcome(**json.loads(into.read_text()))


def tried(version: str) -> Result:
    """Try one version: venv, unit tests, rolling upgrade."""
    python = find(version)
    if python is None:
        return Result(version)
    print(f"Python {python.version}, {python.whence}", flush=True)
    directory = _BUILD / version
    directory.mkdir(parents=True, exist_ok=True)
    started, passed, failed = time.monotonic(), 0, 0
    try:
        interpreter = venv(python)
        passed, failed = unit_tests(interpreter, directory / "unit.xml")
        outcome = upgrade(python, interpreter, directory / "upgrade.json")
    except (PythonError, subprocess.TimeoutExpired) as error:
        return Result(version, python.version, python.whence, passed, failed, seconds=_since(started), error=str(error))
    return Result(version, python.version, python.whence, passed, failed, outcome, _since(started))


def _since(started: float) -> float:
    return round(time.monotonic() - started, 1)


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
    if done.returncode:
        raise PythonError(f"{' '.join(map(str, command))} exited {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")


def exit_code(results: Sequence[Result], *, all_must_be_there: bool) -> int:
    """Return 0 where each is good, or at least was not to be had where that is allowed."""
    return int(
        not all(each.good or (not each.python and not all_must_be_there) for each in results) or not any(each.good for each in results)
    )


def main(versions: Sequence[str]) -> int:
    asked = versions or VERSIONS
    if unknown := set(asked) - set(VERSIONS):
        print(f"{', '.join(sorted(unknown))}: not one of {', '.join(VERSIONS)}", file=sys.stderr)
        return 2
    today = date.today()
    results = [tried(version) for version in asked]
    _BUILD.mkdir(parents=True, exist_ok=True)
    told = {"ran": today.isoformat(), "pythons": [asdict(each) for each in results]}
    (_BUILD / "result.json").write_text(json.dumps(told, indent=2) + "\n")
    if set(asked) == {*VERSIONS}:
        compatibility.write("pythons", COLUMNS, (each.row() for each in results), ran=today)
    for each in results:
        print(
            f"{'good' if each.good else 'WRONG' if each.python else 'no':<6}{': '.join(filter(None, each.row()))}  ({each.seconds:.0f} s)"
        )
    return exit_code(results, all_must_be_there=bool(os.environ.get("CI")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
