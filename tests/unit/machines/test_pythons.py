"""Which Pythons there are, what came of each, and what that means for the command; interpreters are scripts that say a version."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from machines import compatibility, pythons
from machines.pythons import Result, counted, exit_code, find
from machines.rolling_upgrade import Outcome
from machines.suites import Suite, SuiteError

KEPT = Outcome(new=7000, failed=0, broken=0, wrong=[])
GOOD = Result("3.10", "3.10.13", "pyenv", passed=4289, upgrade=KEPT, seconds=170.0)
ABSENT = Result("3.12")


@pytest.fixture(autouse=True)
def no_pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave nothing on the PATH but what a test puts there, nor in pyenv's directory."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))


def interpreter(path: Path, version: str) -> Path:
    """Make what answers as Python ``version``, or fails as pyenv's shim of a version that is not chosen, if that is empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{version} {path}'\n" if version else "#!/bin/sh\nexit 127\n")
    path.chmod(0o755)
    return path


def of_pyenv(tmp_path: Path, version: str) -> Path:
    return interpreter(tmp_path / f"pyenv/versions/{version}/bin/python{version.rpartition('.')[0]}", version)


def test_one_on_the_path_is_preferred(tmp_path: Path) -> None:
    """What the machine has is what its operator means."""
    program = interpreter(tmp_path / "bin/python3.12", "3.12.3")
    of_pyenv(tmp_path, "3.12.9")
    found = find("3.12")
    assert found == pythons.Python("3.12.3", program, "this machine")
    assert found.minor == "3.12"


def test_the_newest_of_pyenv(tmp_path: Path) -> None:
    """A shim that does not start is passed over; 13 is newer than 9; 3.1 is not 3.10, nor 3.10 another 3.1."""
    interpreter(tmp_path / "bin/python3.10", "")
    for version in ("3.10.9", "3.1.4"):
        of_pyenv(tmp_path, version)
    newest = of_pyenv(tmp_path, "3.10.13")
    assert find("3.10") == pythons.Python("3.10.13", newest, "pyenv")


def test_one_of_a_debian_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine has none it is got from the suite that has it; a suite that has it not is told, and it is not to be had."""
    program = interpreter(tmp_path / "tree/python3.13", "3.13.5")
    monkeypatch.setattr(Suite, "tree", lambda suite, *packages: tmp_path / "tree")
    monkeypatch.setattr(pythons, "own", lambda tree, path: tree / Path(path).name)
    assert find("3.13") == pythons.Python("3.13.5", program, "Debian trixie")


def test_none_is_to_be_had(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No suite has 3.12; why a suite did not give its own is told."""

    def fail(suite: Suite, *packages: str) -> Path:
        raise SuiteError(f"{suite.name}: no network")

    monkeypatch.setattr(Suite, "tree", fail)
    assert find("3.12") is None
    assert find("3.13") is None
    assert capsys.readouterr().err == "Python 3.13: trixie: no network\n"


REPORT = '<testsuites><testsuite name="pytest" errors="{e}" failures="{f}" skipped="{s}" tests="{t}" time="1"></testsuite></testsuites>'


def test_what_passed_is_counted() -> None:
    """A file that cannot be imported is as bad as a test that fails; a skipped test is neither good nor bad."""
    assert counted(REPORT.format(e=2, f=1, s=4, t=100)) == (93, 3)


BAD = {
    "a unit test": replace(GOOD, failed=1),
    "no unit test": replace(GOOD, passed=0),
    "no upgrade": replace(GOOD, upgrade=None),
    "a request": replace(GOOD, upgrade=replace(KEPT, failed=1)),
    "an established connection": replace(GOOD, upgrade=replace(KEPT, broken=1)),
    "something else": replace(GOOD, upgrade=replace(KEPT, wrong=["a drain went wrong"])),
    "it could not be tried": replace(GOOD, error="it has no pip"),
}


@pytest.mark.parametrize("result", BAD.values(), ids=BAD)
def test_what_fails_fails_the_command(result: Result) -> None:
    """Whatever failed with one Python, others being good."""
    assert not result.good
    assert exit_code([GOOD, result], all_must_be_there=False) == 1


def test_one_that_is_not_to_be_had() -> None:
    """It fails the command in CI alone, unless none was there at all."""
    assert exit_code([GOOD, ABSENT], all_must_be_there=False) == 0
    assert exit_code([GOOD, ABSENT], all_must_be_there=True) == 1
    assert exit_code([ABSENT], all_must_be_there=False) == 1


def test_its_line_of_the_table() -> None:
    """What ran in numbers, what was wrong in words, and which one was not there."""
    well = "0 of 7000 new connections failed, 0 established ones and transfers broken"
    assert GOOD.row() == ["3.10.13", "pyenv", "4289 passed, 0 failed", well]
    assert ABSENT.row() == ["3.12", "not to be had", "", ""]
    assert BAD["something else"].row()[-1] == f"{well}; a drain went wrong"
    assert replace(BAD["it could not be tried"], upgrade=None).row()[2:] == ["it has no pip", "not tried"]


@pytest.mark.parametrize("asked", [[], ["3.10"]], ids=["all", "one"])
def test_what_is_written(asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """result.json always; the table of the page only when all were tried."""
    tables = list[str]()
    monkeypatch.setattr(pythons, "_BUILD", tmp_path)
    monkeypatch.setattr(pythons, "tried", lambda version: replace(GOOD, version=version))
    monkeypatch.setattr(compatibility, "write", lambda section, *_, **__: tables.append(section))
    assert pythons.main(asked) == 0
    written = json.loads((tmp_path / "result.json").read_text())
    assert [each["version"] for each in written["pythons"]] == (asked or list(pythons.VERSIONS))
    assert written["pythons"][0]["upgrade"]["new"] == 7000
    assert tables == ([] if asked else ["pythons"])


def test_a_version_that_is_none_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """A slip of the pen tries nothing."""
    assert pythons.main(["3.1"]) == 2
    assert "3.1: not one of 3.10, 3.11, 3.12, 3.13" in capsys.readouterr().err


def test_a_venv_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made again when the lock or the Python is another, and one that was not finished is not taken for one."""
    made = list[str]()
    python = pythons.Python("3.10.13", tmp_path / "python3.10", "pyenv")

    def run(command: list[str | Path]) -> None:
        made.append(str(command[-1]))
        (tmp_path / "3.10/venv").mkdir(parents=True, exist_ok=True)

    lock = tmp_path / "lock"
    monkeypatch.setattr(pythons, "_run", run)
    monkeypatch.setattr(pythons, "_pip", lambda python: ["pip.whl/pip"])
    for text, times in (("a", 1), ("a", 1), ("b", 2)):
        lock.write_text(text)
        assert pythons.venv(python, tmp_path, lock) == tmp_path / "3.10/venv/bin/python"
        assert made == [str(tmp_path / "3.10/venv"), str(lock)] * times
    pythons.venv(replace(python, version="3.10.14"), tmp_path, lock)
    assert len(made) == 6
    (tmp_path / "3.10/venv/.ready").unlink()
    pythons.venv(python, tmp_path, lock)
    assert len(made) == 8


def test_a_python_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told where its wheel was looked for."""
    program = interpreter(tmp_path / "usr/bin/python3.13", "")
    python = pythons.Python("3.13.5", program, "Debian trixie")
    monkeypatch.setattr(pythons, "_WHEELS", Path("share/of-nobody"))
    with pytest.raises(pythons.PythonError, match=rf"Python 3\.13\.5 has no pip: its wheel is in none of {tmp_path}/usr/share/of-nobody"):
        pythons._pip(python)
    wheel = tmp_path / "usr/share/of-nobody/pip-25.1-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    wheel.touch()
    assert pythons._pip(python) == [f"{wheel}/pip"]
