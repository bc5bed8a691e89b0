"""Programs of other Debian suites, made to run on this machine: each starts with the loader and the libraries of its own suite."""

import os
import subprocess
from pathlib import Path

from .suites import Suite, SuiteError

SUITES = ("bullseye", "bookworm", "trixie")
_PACKAGES = ("haproxy", "keepalived", "nftables")
_FILES = ("/etc/keepalived/keepalived.config-opts",)  # without it keepalived 2.3 of Debian does not start
_PATCHELF = Suite("bookworm")  # runs with its own loader as well, so any suite's would do


def paths(suite: Suite) -> dict[str, Path]:
    """Return haproxy, keepalived and nft of a suite by where they are looked for, and what its keepalived reads. Raises SuiteError."""
    tree = suite.tree(*_PACKAGES)
    files = {path: tree / path.lstrip("/") for path in _FILES if (tree / path.lstrip("/")).exists()}
    return files | {
        path: own(tree, path.lstrip("/"), patchelf=_PATCHELF) for path in ("/usr/sbin/haproxy", "/usr/sbin/keepalived", "/usr/sbin/nft")
    }


def own(tree: Path, program: str, *, patchelf: Suite = _PATCHELF) -> Path:
    """Return a copy of ``program`` of an unpacked ``tree`` that this machine's kernel starts as any other. Raises SuiteError.

    Were it the loader that we start (`ld.so PROGRAM`), the process would bear its name, and killall and our check of haproxy look at that.
    """
    copy = tree / "runs-here" / Path(program).name
    if copy.exists():
        return copy
    copy.parent.mkdir(exist_ok=True)
    tool = patchelf.tree("patchelf")
    unfinished = copy.with_name(f"{copy.name}.{os.getpid()}")
    command = [
        *(str(loader(tool)), "--library-path", ":".join(libraries(tool)), str(tool / "usr/bin/patchelf")),
        *("--set-interpreter", str(loader(tree)), "--force-rpath", "--set-rpath", ":".join(libraries(tree))),
        *("--output", str(unfinished), str(tree / program)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SuiteError(f"{tree / program} cannot be made to run here: {done.stderr.strip()}")
    unfinished.rename(copy)  # whole at once: tests run side by side
    return copy


def loader(tree: Path) -> Path:
    """Return the dynamic loader of an unpacked tree. Raises SuiteError."""
    for link in sorted(tree.glob("lib*/ld-linux-*.so.*")):
        path = link
        while path.is_symlink():  # some lead to a place below /, which is meant below the tree
            target = path.readlink()
            path = tree / target.relative_to("/") if target.is_absolute() else path.parent / target
        if path.exists():
            return path
    raise SuiteError(f"{tree} has no dynamic loader")


def libraries(tree: Path) -> list[str]:
    """Return where the libraries of an unpacked tree are."""
    return [str(path) for path in sorted(tree.glob("usr/lib/*-linux-gnu*")) if path.is_dir()]
