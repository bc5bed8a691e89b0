"""The release as a VM gets it: templates rendered through Ruby, packages compiled by their own packaging scripts.

With LAB_KEEPALIVED=/usr/sbin/keepalived in the environment, the lab runs on the machine's keepalived instead of ours, as a
group does whose keepalived job is another release's. LAB_PYTHON: see programs.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from . import programs

REPOSITORY = Path(__file__).resolve().parents[3]
BUILD = REPOSITORY / "build"
_BLOBS = REPOSITORY / "blobs"
_RENDER = REPOSITORY / "tests/templates/render.rb"
_JOBS_OF_THE_LAB = Path(__file__).parent / "jobs"
JOBS = {
    "keepalived": REPOSITORY / "jobs/keepalived",
    "vrrp-drain": REPOSITORY / "jobs/vrrp-drain",
    "vip-demote": REPOSITORY / "jobs/vip-demote",
    "vip-promote": REPOSITORY / "jobs/vip-promote",
    "haproxy": _JOBS_OF_THE_LAB / "haproxy",
    "haproxy-with-drain": _JOBS_OF_THE_LAB / "haproxy_with_drain",
    "upstream-keepalived": _JOBS_OF_THE_LAB / "upstream_keepalived",
}
_ON_DISK = {"upstream-keepalived": "keepalived", "haproxy-with-drain": "haproxy"}  # those that have another name in /var/vcap/jobs


@dataclass(frozen=True)
class Spec:
    """What BOSH knows of one instance: ``address`` is the one that links give, ``ip`` that of its default network, if it is another."""

    name: str
    index: int
    id: str
    address: str
    bootstrap: bool
    ip: str = ""


class RenderError(Exception):
    """What BOSH would say when a template cannot be rendered."""


@dataclass(frozen=True)
class Rendering:
    """``job`` for the instance ``spec`` of ``group``, into the directory ``into``; ``provider`` is the job that gives the link."""

    job: str
    spec: Spec
    group: Sequence[Spec]
    properties: Mapping[str, Any]
    into: Path
    provider: str = "keepalived"

    def request(self) -> dict[str, Any]:
        """Return it as render.rb wants it."""
        return {
            "job": str(JOBS[self.job]),
            "into": str(self.into),
            "spec": {**asdict(self.spec), "ip": self.spec.ip or self.spec.address},
            "properties": self.properties,
            "links": {"keepalived": {"provider": str(JOBS[self.provider]), "instances": [asdict(each) for each in self.group]}},
        }


def name_on_disk(job: str) -> str:
    """Return the name that ``job`` has below /var/vcap/jobs."""
    return _ON_DISK.get(job, job)


def refusals(renderings: Iterable[Rendering]) -> list[str | None]:
    """Render all; return what is wrong with each, None where nothing is."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as requests:
        json.dump([each.request() for each in renderings], requests)
        requests.flush()
        done = subprocess.run(["ruby", str(_RENDER), requests.name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"render.rb failed: {done.stderr.strip()}")
    found: list[str | None] = json.loads(done.stdout)
    return found


def render(*renderings: Rendering) -> None:
    """Render all. Raises RenderError with the first thing that is wrong."""
    for refusal in refusals(renderings):
        if refusal is not None:
            raise RenderError(refusal)


class CompileError(Exception):
    """What BOSH would say when a package cannot be compiled."""


def load_yaml(text: str) -> Any:
    """Parse YAML as BOSH's director does: through Ruby."""
    program = ["ruby", "-ryaml", "-rjson", "-e", "print JSON.generate(YAML.safe_load(STDIN.read))"]
    return json.loads(subprocess.run(program, input=text, capture_output=True, text=True, check=True).stdout)


def package_files(package: str, tree: Path = REPOSITORY) -> dict[str, Path]:
    """Return what the bosh CLI packs: path in the package -> file. It looks below src/ first, then below blobs/. Raises CompileError.

    ``tree`` is a checkout, which may have no blobs of its own.
    """
    found: dict[str, Path] = {}
    for pattern in load_yaml((tree / "packages" / package / "spec").read_text())["files"]:
        matches = {path.relative_to(top): path for top in (_BLOBS, tree / "src") for path in top.glob(pattern) if path.is_file()}
        if not matches:
            raise CompileError(f"packages/{package}/spec: nothing matches {pattern}; `make blobs` gets what is not in the repository")
        found |= {str(name): path for name, path in matches.items()}
    return found


def clone_checkout(clone: Path) -> None:
    """Make a git clone that has this checkout's files as they are now, and its blobs."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    git("clone", "--quiet", "--no-checkout", str(REPOSITORY), str(clone))
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard").rstrip("\0").split("\0"):
        source = REPOSITORY / name
        if source.is_symlink() or source.exists():  # not one that is deleted, but not yet in a commit
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, clone / name, follow_symlinks=False)
    shutil.copytree(_BLOBS, clone / "blobs")


def unpack(archive: Path, into: Path) -> Path:
    """Unpack a tarball, and return where."""
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "--extract", "--no-same-owner", "--file", archive, "--directory", into], check=True)
    return into


def compile_package(target: Path) -> None:
    """Compile vrrp-drain into ``target`` and keepalived, or a link to ``LAB_KEEPALIVED``, into ``keepalived`` beside it."""
    compile_one("vrrp-drain", target)
    keepalived = target.with_name("keepalived")
    if theirs := os.environ.get("LAB_KEEPALIVED"):
        (keepalived / "sbin").mkdir(parents=True)
        (keepalived / "sbin/keepalived").symlink_to(theirs)
    else:
        shutil.copytree(_compiled_once("keepalived"), keepalived)


def install(vcap: Path, package: Path) -> None:
    """Lay the packages out below ``vcap``: ``package`` is vrrp-drain, keepalived is beside it."""
    for compiled in (package, package.with_name("keepalived")):
        install_one(vcap, compiled)


def install_one(vcap: Path, compiled: Path) -> None:
    installed = vcap / "packages" / compiled.name
    if not installed.exists():
        shutil.copytree(compiled, installed, symlinks=True, copy_function=os.link)


def compile_one(package: str, target: Path, tree: Path = REPOSITORY) -> None:
    """Compile what the bosh CLI would pack of a checkout, as the agent of a compilation VM does."""
    with tempfile.TemporaryDirectory() as source:
        lay_out(package, Path(source), tree)
        run_packaging(package, Path(source), target)


def lay_out(package: str, source: Path, tree: Path = REPOSITORY) -> None:
    """Put into ``source`` what the agent of a compilation VM unpacks: the package's files and its packaging script."""
    for name, path in {**package_files(package, tree), "packaging": tree / "packages" / package / "packaging"}.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, source / name)


def compile_variables(package: str, source: str, target: str) -> dict[str, str]:
    """Return what bosh-agent tells a packaging script (runPackagingCommand of agent/compiler)."""
    return {
        "BOSH_COMPILE_TARGET": source,
        "BOSH_INSTALL_TARGET": target,
        "BOSH_PACKAGE_NAME": package,
        "BOSH_PACKAGE_VERSION": "0" * 40,  # a fingerprint
    }


def run_packaging(package: str, source: Path, target: Path) -> None:
    """Run the packaging script in ``source`` on the files that lie there. Raises CompileError."""
    target.mkdir(parents=True)
    with programs.path_for_packaging() as path:
        done = subprocess.run(
            ["bash", "-x", "packaging"],
            cwd=source,
            env={"PATH": path, **compile_variables(package, str(source), str(target))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        raise CompileError(f"{package}: packaging exited {done.returncode}; `make deps` installs what it needs:\n{done.stdout[-3000:]}")


def _compiled_once(package: str) -> Path:
    """Return the compiled package from below build/, compiled only when its packaging or a file of it is new."""
    files = {"packaging": REPOSITORY / "packages" / package / "packaging", **package_files(package)}
    fingerprint = hashlib.sha256()
    for name, path in sorted(files.items()):
        fingerprint.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    cached = BUILD / "compiled" / f"{package}-{fingerprint.hexdigest()[:16]}"
    cached.parent.mkdir(parents=True, exist_ok=True)
    with (cached.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the tests run in several processes
        if not cached.exists():
            with tempfile.TemporaryDirectory(dir=cached.parent) as scratch:
                compile_one(package, Path(scratch) / package)
                (Path(scratch) / package).rename(cached)
    return cached
