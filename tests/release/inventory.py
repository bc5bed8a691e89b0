"""What a compiled package consists of: every path with its mode and kind, and what of that stands in tests/release/installed/.

`make installed` writes those lists anew.
"""

import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.fabric.release import REPOSITORY, compile_one

LISTS = Path(__file__).with_name("installed")
PACKAGES = ("keepalived", "vrrp-drain")
_KINDS = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}
_CACHE = "__pycache__"


def inventory(package: Path) -> set[str]:
    """Return a line for each path below a directory: mode, kind, name. What Python compiled is left out (``compiled_sources``)."""
    return {_line(path, path.relative_to(package)) for path in package.rglob("*") if _CACHE not in path.parts}


def compiled_sources(package: Path) -> set[str]:
    """Return the names of the Python files below a directory of which a compiled one is beside it that anybody may read."""
    compiled = (path for path in package.rglob("*.pyc") if path.parent.name == _CACHE and stat.S_IMODE(path.stat().st_mode) == 0o644)
    return {str(path.parent.parent.relative_to(package) / f"{path.name.split('.')[0]}.py") for path in compiled}


def listed(package: str) -> set[str]:
    """Return what must be in a package: its list, and for vrrp-drain our own files in src/."""
    return set((LISTS / f"{package}.txt").read_text().splitlines()) | (set(_ours()) if package == "vrrp-drain" else set())


def write(package: str, compiled: Path) -> None:
    """Write the list of a package: what is in it besides our own files, which nobody needs to list a second time."""
    ours = set(_ours()) if package == "vrrp-drain" else set()
    lines = sorted(inventory(compiled) - ours, key=lambda line: line.split(" ", 2)[2])
    (LISTS / f"{package}.txt").write_text("".join(f"{line}\n" for line in lines))


def _line(path: Path, name: Path) -> str:
    status = path.lstat()
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "special file")
    return f"{stat.S_IMODE(status.st_mode):04o} {kind} {name}{f' -> {path.readlink()}' if kind == 'link' else ''}"


def _ours() -> Iterator[str]:
    """Yield the lines of src/: all that git knows there, of the library its Python, and the directories of these."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/bin", "src/hooks", "src/lib/*.py"]
    told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    files = {path for path in told if (REPOSITORY / path).exists()}
    for path in files:
        runs = (REPOSITORY / path).stat().st_mode & 0o100
        yield f"{'0755' if runs else '0644'} file {path.removeprefix('src/')}"
    for directory in {parent for path in files for parent in _parents(path)}:
        yield f"0755 directory {directory}"


def _parents(path: str) -> Iterable[str]:
    return [str(parent) for parent in Path(path.removeprefix("src/")).parents if parent != Path()]


def main() -> None:
    """Compile both packages on this machine and write their lists."""
    LISTS.mkdir(exist_ok=True)
    for package in PACKAGES:
        with tempfile.TemporaryDirectory() as scratch:
            compile_one(package, Path(scratch, package))
            write(package, Path(scratch, package))


if __name__ == "__main__":
    main()
