"""Packages of other Debian suites than this machine's: an apt of their own gets and checks them; they are unpacked, not installed."""

import fcntl
import hashlib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LIMIT = 600  # seconds for one command of apt: a mirror that does not answer is told
# links into /usr, which a suite's installer makes, and its packages in part
MERGED = ("bin", "lib", "lib64", "sbin")


class SuiteError(Exception):
    """A package is not to be had. The text says which, of which suite, and why."""


class Suite:
    """One Debian suite by its codename; what it gave is kept below ``kept``, so that the next run needs no network for it."""

    def __init__(self, name: str, kept: Path = Path("build/suites")) -> None:
        self.name = name
        self._home = kept.absolute() / name

    def newest(self, pattern: str) -> str:
        """Return the name of the newest package whose whole name matches the regular expression ``pattern``."""
        with self._alone():
            found = [name for name in self._asked("apt-cache", "pkgnames").split() if re.fullmatch(pattern, name)]
        if not found:
            raise SuiteError(f"{self.name} has no package whose name matches {pattern}")
        return max(found, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])

    def version(self, package: str) -> str:
        """Return the version that the suite has of a package, as Debian writes it."""
        with self._alone():
            told = re.search(r"^Version: (.*)$", self._asked("apt-cache", "show", "--no-all-versions", package), re.MULTILINE)
        if not told:
            raise SuiteError(f"{self.name} has no package {package}")
        return told[1]

    def download(self, package: str) -> Path:
        """Return the file of one package alone."""
        with self._alone():
            uri = self._asked("apt-get", "download", "--print-uris", package)
            file = self._home / "packages" / uri.split()[1]
            if not file.exists():
                file.parent.mkdir(exist_ok=True)
                self._asked("apt-get", "download", package, cwd=file.parent)
        return file

    def tree(self, *packages: str) -> Path:
        """Return a directory that has these packages, and all that they depend on, unpacked: no script of theirs has run."""
        with self._alone():
            name = "+".join(sorted(packages))
            tree = self._home / "trees" / (name if len(name) < 200 else hashlib.sha256(name.encode()).hexdigest())
            if tree.exists():
                return tree
            tree.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._home) as scratch:
                archives, whole = Path(scratch, "archives"), Path(scratch, "tree")
                (archives / "partial").mkdir(parents=True)
                whole.mkdir()
                for each in MERGED:
                    (whole / "usr" / each).mkdir(parents=True)
                    (whole / each).symlink_to(f"usr/{each}")
                self._asked(
                    "apt-get",
                    "--yes",
                    "--no-install-recommends",
                    "--download-only",
                    "-o",
                    f"Dir::Cache::archives={archives}",
                    "install",
                    *packages,
                )
                for file in sorted(archives.glob("*.deb")):
                    # not dpkg --extract, which puts a directory where the link is
                    _run(
                        "sh",
                        "-c",
                        'dpkg-deb --fsys-tarfile "$0" | tar --extract --keep-directory-symlink --directory "$1"',
                        str(file),
                        str(whole),
                    )
                whole.rename(tree)
        return tree

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others out who want the same suite, tests side by side among them, and have the suite's lists."""
        self._home.mkdir(parents=True, exist_ok=True)
        with Path(self._home, "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self._home / "ready").exists():
                self._prepare()
            yield

    def _prepare(self) -> None:
        for each in ("lists/partial", "cache/archives/partial"):
            (self._home / each).mkdir(parents=True, exist_ok=True)
        (self._home / "status").touch()  # nothing is installed, so that apt gets all that a package depends on
        (self._home / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {self.name} main\n")
        self._asked("apt-get", "-o", "Acquire::Retries=3", "update")
        (self._home / "ready").touch()

    def _asked(self, command: str, *arguments: str, cwd: Path | None = None) -> str:
        settings = {
            "Dir::Etc::SourceList": self._home / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State": self._home,
            "Dir::State::status": self._home / "status",
            "Dir::Cache": self._home / "cache",
            "APT::Sandbox::User": "",  # whoever calls may keep this where no other user may look
            "Debug::NoLocking": "true",
            "APT::Get::List-Cleanup": "false",
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        try:
            return _run(command, "-qq", *options, *arguments, cwd=cwd)
        except SuiteError as error:
            raise SuiteError(f"{self.name}: {error}") from None


def mirror() -> str:
    """Return the address of the Debian mirror that this machine's apt uses. Raises SuiteError if it uses none."""
    listed = _run("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)")
    for label, _, uri in (line.partition(" ") for line in listed.splitlines()):
        if label == "Debian":
            return uri
    raise SuiteError(
        "apt has no list of a Debian mirror here. On Debian: apt-get update. Packages of other suites are got from the same mirror"
    )


def _run(*command: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        raise SuiteError(f"{command[0]} {command[-1]} did not end within {LIMIT} s") from None
    except FileNotFoundError:
        raise SuiteError(f"there is no {command[0]} here. Packages of Debian's suites need Debian or Ubuntu") from None
    if done.returncode:
        raise SuiteError(f"{command[0]} {command[-1]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
