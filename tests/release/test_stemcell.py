"""Both packages, compiled where there is no more than a stemcell has: what they need, what comes of it, and that it is always the same."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.fabric.release import REPOSITORY, CompileError, compile_one, compile_package
from machines.pythons import find
from release import stemcell
from release.conftest import lacking
from release.inventory import PACKAGES, compiled_sources, inventory, listed
from release.stemcell import Compiled, Habits, compiled_in_stemcell

# Python's own: its package's script, which has not run here, would have left them
PYTHONS_CACHE = "/usr/lib/python3"

pytestmark = [pytest.mark.xdist_group("stemcell"), pytest.mark.timeout(300), pytest.mark.long, pytest.mark.thorough]


@pytest.fixture(scope="module", autouse=True)
def _root(blobs: Path) -> None:
    if os.geteuid() != 0:
        lacking("a stemcell's file system is entered by root: sudo make test")
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        lacking("a stemcell's file system is made of Debian's packages: it needs Debian or Ubuntu")


@pytest.fixture(scope="module")
def compiled() -> Iterator[dict[str, Compiled]]:
    """Give both packages as a stemcell compiles them that has no more than they need."""
    with ExitStack() as stack:
        yield {package: stack.enter_context(compiled_in_stemcell(package, Habits())) for package in PACKAGES}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with both packages as the lab compiles them on this machine."""
    directory = tmp_path_factory.mktemp("here")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LAB_KEEPALIVED", raising=False)
        compile_package(directory / "vrrp-drain")
    return directory


def _contents(package: Path) -> dict[str, bytes]:
    return {str(path.relative_to(package)): path.read_bytes() for path in package.rglob("*") if path.is_file()}


def _assert_same(one: Path, other: Path) -> None:
    """Assert that two packages are the same byte for byte, modes included; name what is not."""
    assert inventory(one) == inventory(other)
    assert compiled_sources(one) == compiled_sources(other)
    first, second = _contents(one), _contents(other)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_it_compiles_with_what_a_stemcell_has(compiled: dict[str, Compiled], package: str) -> None:
    """Without network, and without a file of the build machine's; and the script writes nothing but the package."""
    assert [path for path in compiled[package].elsewhere if not path.startswith(PYTHONS_CACHE)] == []


WANTS_MORE = {
    "network": "exec 3<> /dev/tcp/127.0.0.1/22",
    "curl": "curl --version",
    "pip": "python3 -m pip --version",
    "venv": "python3 -m venv environment",
    "pkg-config": "pkg-config --version",
    "autoconf": "autoconf --version",
    "home": 'touch "$HOME/here"',
    "exec on tmp": "cp /bin/true /tmp/true && /tmp/true",
}


@pytest.mark.parametrize("script", WANTS_MORE.values(), ids=WANTS_MORE)
def test_a_script_that_wants_more_fails(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Where the packages above compile there is nothing of the kind; of the build machine, which has most of it, nothing is seen."""
    _packaging(monkeypatch, script)
    with pytest.raises(CompileError, match="vrrp-drain: packaging exited"), compiled_in_stemcell("vrrp-drain", Habits()):
        pass


def test_what_a_script_leaves_elsewhere_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file outside of what is installed; and what a script leaves running ends with it."""
    _packaging(monkeypatch, "echo 1 > /etc/left\nsleep 1000 &")
    with compiled_in_stemcell("vrrp-drain", Habits()) as compiled:
        assert compiled.elsewhere == ["/etc/left"]


def _packaging(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    def lay_out(_: str, source: Path) -> None:
        source.mkdir(parents=True)
        (source / "packaging").write_text(f"set -eu\n{script}\n")

    monkeypatch.setattr(stemcell, "lay_out", lay_out)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_installed_is_listed(compiled: dict[str, Compiled], package: str) -> None:
    """tests/release/installed/ has every path with its mode and kind; if a change is meant, `make installed` writes it."""
    assert inventory(compiled[package].package) == listed(package)


def test_every_python_file_is_compiled(compiled: dict[str, Compiled]) -> None:
    """An instance's first vrrpctl has nothing to compile, and nobody but root could write it down."""
    package = compiled["vrrp-drain"].package
    libraries = (path for top in ("lib", "site-packages") for path in (package / top).rglob("*.py"))
    assert compiled_sources(package) == {str(path.relative_to(package)) for path in libraries}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_lab_has_the_same_package(compiled: dict[str, Compiled], here: Path, package: str) -> None:
    """What is tested in the lab is what a deployment gets: the same paths and modes, and of our own and the wheels the same bytes."""
    theirs = compiled[package].package
    assert inventory(here / package) == inventory(theirs)
    assert [path for path in theirs.rglob("*.py") if path.read_bytes() != (here / package / path.relative_to(theirs)).read_bytes()] == []


def test_keepalived_is_configured_as_the_labs(compiled: dict[str, Compiled], here: Path) -> None:
    """configure has found the same, whatever else this machine has: the options of --version, and the libraries that it is linked with."""
    theirs, ours = (package / "sbin/keepalived" for package in (compiled["keepalived"].package, here / "keepalived"))
    assert b" VRRP_VMAC " in _config_options(theirs)
    assert _config_options(theirs) == _config_options(ours)
    assert _libraries(theirs) == _libraries(ours) == ["libc", "libcrypto"]


def _config_options(keepalived: Path) -> bytes:
    """Return what it says of itself, read and not run: it may want a newer libc than this machine's."""
    (found,) = re.findall(rb"[ -~]* VRRP_AUTH [ -~]*", keepalived.read_bytes())
    return bytes(found)


def _libraries(keepalived: Path) -> list[str]:
    told = subprocess.run(["readelf", "--dynamic", keepalived], capture_output=True, text=True, check=True).stdout
    return sorted(re.findall(r"\(NEEDED\).*\[(\w+)\.so", told))


@pytest.mark.parametrize(("suite", "package"), [("bullseye", "keepalived"), ("trixie", "keepalived"), ("trixie", "vrrp-drain")])
def test_other_compilers_install_the_same(compiled: dict[str, Compiled], suite: str, package: str) -> None:
    """Jammy and Noble lie between these: gcc 10, OpenSSL 1.1, headers of Linux 5.10; and gcc 14, OpenSSL 3.5, Linux 6.12, Python 3.13."""
    with compiled_in_stemcell(package, Habits(suite=suite)) as other:
        assert inventory(other.package) == listed(package)
        assert compiled_sources(other.package) == compiled_sources(compiled[package].package)
        if package == "keepalived":
            program = other.package / "sbin/keepalived"
            assert _config_options(program) == _config_options(compiled[package].package / "sbin/keepalived")
            assert _libraries(program) == ["libc", "libcrypto"]


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_tells_where_it_was_compiled(compiled: dict[str, Compiled], package: str) -> None:
    """The package names where it is installed; neither where its sources lay, nor this machine's directories."""
    told = [str(REPOSITORY).encode(), str(compiled[package].package).encode(), b"/var/vcap/data/compile"]
    found = [(name, each) for name, content in _contents(compiled[package].package).items() for each in told if each in content]
    assert found == []


# what the builder of a release or the agent of a VM may have, and nobody should notice
OTHER_HABITS = Habits(
    umask=0o077,
    environment={"HOME": "/nonexistent", "TMPDIR": "/var/tmp", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Tokyo"},
)


@pytest.mark.parametrize("package", PACKAGES)
def test_compiled_again_elsewhere_it_is_the_same(compiled: dict[str, Compiled], package: str) -> None:
    """Byte for byte and with the same modes, with another umask, home, directory for temporary files, language and time zone."""
    with compiled_in_stemcell(package, OTHER_HABITS) as again:
        _assert_same(compiled[package].package, again.package)


@pytest.mark.parametrize("package", PACKAGES)
def test_with_all_that_it_could_notice_it_is_the_same(compiled: dict[str, Compiled], package: str) -> None:
    """Byte for byte, where all libraries and tools are that a stemcell has, and those that keepalived would like to have."""
    with compiled_in_stemcell(package, Habits(kinds=("needed", "there", "absent"))) as again:
        _assert_same(compiled[package].package, again.package)


def test_an_older_python_compiles_the_same_each_time(blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.10, as Jammy has it, puts a set's members down in the order of their hashes, which are others in every process."""
    python = find("3.10") or find("3.11")
    assert python
    monkeypatch.setenv("LAB_PYTHON", str(python.program))
    target = tmp_path / "installed/vrrp-drain"  # named in what is compiled
    contents = []
    for _ in range(2):
        compile_one("vrrp-drain", target)
        contents.append(_contents(target))
        shutil.rmtree(target)
    assert [name for name in contents[0] if contents[0][name] != contents[1][name]] == []
