"""The release as a VM gets it: templates rendered through Ruby, packages compiled by their own packaging scripts."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
BUILD = REPOSITORY / "build"
_RENDER = REPOSITORY / "tests/templates/render.rb"
JOBS = {
    "keepalived": REPOSITORY / "jobs/keepalived",
    "vrrp-drain": REPOSITORY / "jobs/vrrp-drain",
    "haproxy": Path(__file__).parent / "haproxy_job",
}


@dataclass(frozen=True)
class Spec:
    """What BOSH knows of one instance."""

    name: str
    index: int
    id: str
    address: str
    bootstrap: bool


class RenderError(Exception):
    """What BOSH would say when a template cannot be rendered."""


def render(job: str, spec: Spec, group: Sequence[Spec], properties: Mapping[str, Any], into: Path) -> None:
    """Render ``job`` for the instance ``spec`` of ``group`` into the directory ``into``. Raises RenderError."""
    request = {
        "job": str(JOBS[job]),
        "into": str(into),
        "spec": {**asdict(spec), "ip": spec.address},
        "properties": properties,
        "links": {"keepalived": {"provider": str(JOBS["keepalived"]), "instances": [asdict(each) for each in group]}},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as requests:
        json.dump([request], requests)
        requests.flush()
        done = subprocess.run(["ruby", str(_RENDER), requests.name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RenderError(done.stderr.strip())


def compile_package(target: Path) -> None:
    """Compile the vrrp-drain package into ``target``, as a compilation VM does."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch)
        shutil.copytree(REPOSITORY / "bin", source / "bin")
        shutil.copytree(REPOSITORY / "lib", source / "lib", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copytree(BUILD / "wheels", source / "wheels", ignore=shutil.ignore_patterns(".*"))
        target.mkdir(parents=True)
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "BOSH_COMPILE_TARGET": scratch, "BOSH_INSTALL_TARGET": str(target)}
        script = REPOSITORY / "packages/vrrp-drain/packaging"
        subprocess.run(["bash", str(script)], cwd=source, env=environment, check=True)


def install(vcap: Path, package: Path) -> None:
    """Lay the packages out below ``vcap``; keepalived is the machine's own."""
    packages = vcap / "packages"
    (packages / "keepalived/sbin").mkdir(parents=True, exist_ok=True)
    keepalived = packages / "keepalived/sbin/keepalived"
    if not keepalived.is_symlink():
        keepalived.symlink_to(shutil.which("keepalived", path="/usr/sbin:/sbin:/usr/local/sbin") or "/usr/sbin/keepalived")
    if not (packages / "vrrp-drain").exists():
        shutil.copytree(package, packages / "vrrp-drain", copy_function=os.link)
