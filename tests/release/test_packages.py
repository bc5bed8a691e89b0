"""The compiled packages, as an instance gets them."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from lab.fabric.agent import PATH
from lab.fabric.release import REPOSITORY, compile_package
from release.conftest import lacking


@pytest.fixture(scope="module")
def packages(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a directory with both packages, compiled by their own scripts."""
    if not shutil.which("gcc") or not Path("/usr/include/openssl/ssl.h").exists():
        lacking("keepalived is compiled with gcc and libssl-dev: `make deps` installs them")
    directory = tmp_path_factory.mktemp("packages")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LAB_KEEPALIVED", raising=False)
        compile_package(directory / "vrrp-drain")
    return directory


def _files(package: Path) -> set[str]:
    return {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}


def test_keepalived_is_one_program(packages: Path) -> None:
    """No samples, no man pages, and only libraries that every stemcell has."""
    assert _files(packages / "keepalived") == {"sbin/keepalived"}
    needed = subprocess.run(["ldd", packages / "keepalived/sbin/keepalived"], capture_output=True, text=True, check=True).stdout
    libraries = {line.split()[0].split(".so")[0].rpartition("/")[2] for line in needed.splitlines()}
    assert libraries - {"linux-vdso", "ld-linux-x86-64", "ld-linux-aarch64"} == {"libcrypto", "libc"}


def test_keepalived_has_what_the_job_offers(packages: Path) -> None:
    """VRRP with auth_pass and use_vmac; no load balancer."""
    done = subprocess.run([packages / "keepalived/sbin/keepalived", "--version"], capture_output=True, text=True, check=True)
    said = done.stdout + done.stderr
    options = next(line for line in said.splitlines() if line.startswith("Config options:")).split()
    assert "Keepalived v2.3.3 " in said
    assert {"VRRP", "VRRP_AUTH", "VRRP_VMAC"} <= set(options)
    assert not {"LVS", "NFTABLES", "IPTABLES"} & set(options)


def _of_somebody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Give a file of an archive to whoever made it, as upstream's have it."""
    member.uid = member.gid = 1000
    member.uname = member.gname = ""
    return member


def test_keepalived_is_unpacked_by_a_root_who_may_not_give_files_away(tmp_path: Path) -> None:
    """The lab of somebody who is not root compiles in a user namespace, which does not know whom the files in the tarball belong to."""
    source = tmp_path / "keepalived-1"
    source.mkdir()
    (source / "configure").write_text("#!/bin/sh\n")
    (source / "configure").chmod(0o755)
    (source / "Makefile").write_text("all:\n\tmkdir bin\n\tcp /bin/true bin/keepalived\n")
    (tmp_path / "keepalived").mkdir()
    with tarfile.open(tmp_path / "keepalived/keepalived-1.tar.gz", "w:gz") as tar:
        tar.add(source, source.name, filter=_of_somebody)
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "bash", str(REPOSITORY / "packages/keepalived/packaging")],
        cwd=tmp_path,
        env={"PATH": PATH, "BOSH_INSTALL_TARGET": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stderr.startswith("unshare: "):
        lacking(f"user namespaces: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert _files(tmp_path / "installed") == {"sbin/keepalived"}


def test_vrrp_drain_brings_its_libraries(packages: Path) -> None:
    """vrrpctl starts from the package alone, from any directory, whatever the caller's Python settings are."""
    program = packages / "vrrp-drain/bin/vrrpctl"
    done = subprocess.run([program, "--help"], cwd="/", env={"PYTHONPATH": "/nonexistent"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "demote" in done.stdout
    assert all((packages / "vrrp-drain/hooks" / name).stat().st_mode & 0o111 for name in ("move-elastic-ip", "tell-sdn"))
    assert {name.partition("/")[0] for name in _files(packages / "vrrp-drain")} == {"bin", "hooks", "lib", "site-packages"}


def test_rich_does_without_what_is_not_vendored(packages: Path) -> None:
    """Consoles, tables and live displays work from the package alone: pygments and markdown-it-py, which rich names, are not in it."""
    imports = "from rich.console import Console; from rich.live import Live; from rich.table import Table"
    program = f"{imports}; Live(Table('a'), console=Console()).start()"
    environment = {"PYTHONPATH": str(packages / "vrrp-drain/site-packages"), "TERM": "xterm", "FORCE_COLOR": "1"}
    done = subprocess.run(["/usr/bin/python3", "-sc", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list((packages / "vrrp-drain/site-packages").glob("pygments*"))
