"""A compilation VM: a root file system with no more than a stemcell has, no network, and packages compiled in it as bosh-agent does.

Its programs are Debian's (bookworm), since stemcells are not to be had as packages; stemcell_packages.txt says which, and why those.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.fabric.release import BUILD, CompileError, compile_variables, lay_out
from machines.suites import Suite

LISTED = Path(__file__).with_name("stemcell_packages.txt")
_AGENTS_PATH = "/var/vcap/bosh/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # runit's, and the agent's own
_LIMIT = 240  # seconds for one package
# Debian's alternatives are links that a package's script makes; the packages here are unpacked, and no script of theirs has run.
_ALTERNATIVES = {"usr/bin/awk": "mawk", "usr/bin/cc": "gcc"}
# The root file system is kept as it was: what is written goes into a layer above it. No network but an own loopback that is down, no
# process of ours to be seen, and /tmp as hardened stemcells mount it.
_ENTER = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/written,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount --rbind /dev "$2/root/dev"
mount -t tmpfs -o nosuid,nodev,noexec,mode=1777 tmpfs "$2/root/tmp"
exec chroot "$2/root" bash -c 'cd "$BOSH_COMPILE_TARGET" && exec bash -x packaging'
"""


def listed(kind: str) -> list[str]:
    """Return the packages of one kind in stemcell_packages.txt."""
    words = [line.split() for line in LISTED.read_text().splitlines() if line and not line.startswith("#")]
    return [package for each, package in words if each == kind]


@dataclass(frozen=True)
class Habits:
    """What one machine has otherwise than another, and no package may depend on: umask, environment, further programs, their age."""

    umask: int = 0o022
    environment: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("needed",)
    suite: str = "bookworm"


@dataclass(frozen=True)
class Compiled:
    """A package as it was installed, what the script said, and what it wrote elsewhere (paths in the file system of the VM)."""

    package: Path
    said: str
    elsewhere: list[str]


@contextmanager
def compiled_in_stemcell(package: str, habits: Habits) -> Iterator[Compiled]:
    """Compile a package; what came of it is there as long as the context. Raises CompileError, and SuiteError if Debian's packages lack."""
    tree = Suite(habits.suite, kept=BUILD / "suites").tree(*(name for kind in habits.kinds for name in listed(kind)))
    variables = compile_variables(package, f"/var/vcap/data/compile/{package}", f"/var/vcap/packages/{package}")
    with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
        machine = Path(scratch)
        for name in ("written", "work", "root"):
            (machine / name).mkdir(mode=0o755)
        written = machine / "written"
        installed = written / f"var/vcap/data/packages/{package}/{variables['BOSH_PACKAGE_VERSION']}"
        _prepare(written, package, installed, habits.umask)
        before = set(written.rglob("*"))
        done = subprocess.run(
            # --kill-child: whatever the script leaves running ends with it
            ["unshare", "--mount", "--net", "--ipc", "--pid", "--fork", "--kill-child", "bash", "-euc", _ENTER, "-", tree, machine],
            env={"PATH": _AGENTS_PATH, **variables, **habits.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT,
            umask=habits.umask,
            check=False,
        )
        if done.returncode != 0:
            raise CompileError(f"{package}: packaging exited {done.returncode} on a stemcell:\n{done.stdout[-3000:]}")
        own = (installed, written / variables["BOSH_COMPILE_TARGET"][1:])
        new = {path for path in set(written.rglob("*")) - before if not any(path.is_relative_to(each) for each in own)}
        yield Compiled(installed, done.stdout, sorted(f"/{path.relative_to(written)}" for path in new if not path.is_dir()))


def _prepare(written: Path, package: str, installed: Path, umask: int) -> None:
    """Do what the agent does before it runs the script: the files unpacked, an empty directory to install to, and the link to it.

    Who built the release had that umask as well, and his modes are in the archive of the package.
    """
    installed.mkdir(parents=True)
    (written / "var/vcap/packages").mkdir()
    (written / "var/vcap/packages" / package).symlink_to(f"/{installed.relative_to(written)}")
    source = written / "var/vcap/data/compile" / package
    lay_out(package, source)
    for path in source.rglob("*"):
        path.chmod(path.stat().st_mode & ~umask)
    for link, program in _ALTERNATIVES.items():
        (written / link).parent.mkdir(parents=True, exist_ok=True)
        (written / link).symlink_to(program)
