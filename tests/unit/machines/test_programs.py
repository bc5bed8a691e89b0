"""Programs of other suites are started by their own loader, with their own libraries: what is made for that of an unpacked tree."""

from pathlib import Path

import pytest

from machines import programs
from machines.suites import Suite, SuiteError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a tree as Debian's packages make it: the loader is a link to a place below /."""
    (tmp_path / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (tmp_path / "usr/lib64").mkdir()
    for each in ("lib", "lib64"):
        (tmp_path / each).symlink_to(f"usr/{each}")
    (tmp_path / "usr/lib/x86_64-linux-gnu/ld-2.31.so").touch()
    (tmp_path / "usr/lib64/ld-linux-x86-64.so.2").symlink_to("/lib/x86_64-linux-gnu/ld-2.31.so")
    return tmp_path


def test_the_loader_is_the_trees_own(tree: Path) -> None:
    """A link that means a place below / means it below the tree, one that is relative what it says."""
    assert programs.loader(tree).resolve() == tree / "usr/lib/x86_64-linux-gnu/ld-2.31.so"
    link = tree / "usr/lib64/ld-linux-x86-64.so.2"
    link.unlink()
    link.symlink_to("../lib/x86_64-linux-gnu/ld-2.31.so")
    assert programs.loader(tree).resolve() == tree / "usr/lib/x86_64-linux-gnu/ld-2.31.so"


def test_a_tree_without_a_loader(tree: Path) -> None:
    """Nothing of it can run."""
    (tree / "usr/lib/x86_64-linux-gnu/ld-2.31.so").unlink()
    with pytest.raises(SuiteError, match="has no dynamic loader"):
        programs.loader(tree)


def test_a_copy_is_made_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the loader and the libraries of the tree in it; the program itself is not touched, and what fails leaves no copy."""
    (tree / "usr/sbin").mkdir()
    (tree / "usr/sbin/haproxy").write_text("as Debian has it")
    loader = tree / "usr/lib/x86_64-linux-gnu/ld-2.31.so"
    loader.write_text('#!/bin/sh\nshift 3\n[ -z "$FAIL" ] || { echo no room >&2; exit 1; }\necho "$@" >"$7"\n')
    loader.chmod(0o755)
    monkeypatch.setattr(Suite, "tree", lambda suite, *packages: tree)
    monkeypatch.setenv("FAIL", "yes")
    with pytest.raises(SuiteError, match="haproxy cannot be made to run here: no room"):
        programs.own(tree, "usr/sbin/haproxy")
    monkeypatch.setenv("FAIL", "")
    copy = programs.own(tree, "usr/sbin/haproxy")
    made = copy.read_text()
    assert copy.name == "haproxy"
    assert f"--set-interpreter {programs.loader(tree)} --force-rpath --set-rpath {tree}/usr/lib/x86_64-linux-gnu " in made
    assert (tree / "usr/sbin/haproxy").read_text() == "as Debian has it"
    monkeypatch.setenv("FAIL", "yes")
    assert programs.own(tree, "usr/sbin/haproxy") == copy
