"""What others may put under the name of a file of ours."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

SOMEBODY = 12345
VICTIM = "what others rely on\n"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@dataclass(frozen=True)
class Plant:
    """One way to take the name of a file; ``what`` is what we say of it."""

    name: str
    put: Callable[[Path, Path], None]
    what: str


def a_file_of_somebody(path: Path, victim: Path) -> None:
    path.write_text("0\n")
    os.chown(path, SOMEBODY, SOMEBODY)


def a_socket(path: Path, victim: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def a_full_directory(path: Path, victim: Path) -> None:
    (path / "below/further").mkdir(parents=True)
    (path / "below/file").touch()
    (path / "below/link").symlink_to(victim.parent)


def a_file_for_all(path: Path, victim: Path) -> None:
    path.write_text("0\n")
    path.chmod(0o666)


PLANTS = [
    Plant("link", lambda path, victim: path.symlink_to(victim), "it is a link"),
    Plant("dangling link", lambda path, victim: path.symlink_to(victim.with_name("none")), "it is a link"),
    Plant("hard link", lambda path, victim: path.hardlink_to(victim), "it has 2 names (hard links)"),
    Plant("FIFO", lambda path, victim: os.mkfifo(path), "it is a FIFO"),
    Plant("socket", a_socket, "it is a socket"),
    Plant("directory", a_full_directory, "it is a directory"),
    Plant("file of somebody", a_file_of_somebody, f"it belongs to uid {SOMEBODY}"),
    Plant("file for all", a_file_for_all, "others may write it"),
]
PARAMS = [pytest.param(plant, id=plant.name, marks=needs_root if plant.put is a_file_of_somebody else ()) for plant in PLANTS]
plants = pytest.mark.parametrize("plant", PARAMS)


def a_victim(directory: Path) -> Path:
    path = directory / "outside/victim"
    path.parent.mkdir()
    path.write_text(VICTIM)
    return path


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def unharmed(victim: Path) -> bool:
    return victim.read_text() == VICTIM and names(victim.parent) == [victim.name]
