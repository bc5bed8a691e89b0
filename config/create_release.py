"""Creates the release with the bosh CLI: `make release` one to try, `make final` a version that stays. CONTRIBUTING.md says how to release.

The same commit gives the same tarball, byte for byte, whoever builds it, where and when, with the same versions of bosh, GNU tar and gzip.
"""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

NAME = "vrrp-drain"
# bosh has tar pack everything, and tar reads these from TAR_OPTIONS: the order of the directory, the builder's name and umask, and the
# time stay out. That time is the first that every archive format knows.
_TAR = "--sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime=@315532800"
_COMMIT_DIGITS = "12"  # of the commit in release.MF: git would take as many as this clone needs to tell its objects apart
_OTHER_BYTES = ("BOSH_SHA2", "GZIP")  # what in the environment would change the tarball
_SECTION = re.compile(r"^## (\S+).*$", re.MULTILINE)


class Refused(Exception):
    """Nothing was built. The text says why, and what to do."""


def version(root: Path) -> str:
    """Return the version that the library says it is."""
    said = re.search(r'^__version__ = "(.+)"$', (root / "src/lib/vrrp_drain/__init__.py").read_text(), re.MULTILINE)
    if not said:
        raise Refused('src/lib/vrrp_drain/__init__.py has no line __version__ = "…": write the version there')
    return said[1]


def section(changelog: str, name: str) -> str:
    """Return what CHANGELOG.md says under the heading of a version, or of "Unreleased"; nothing if it has no such heading."""
    headings = list(_SECTION.finditer(changelog))
    ends = [heading.start() for heading in headings[1:]] + [len(changelog)]
    return next((changelog[heading.end() : end].strip() for heading, end in zip(headings, ends, strict=True) if heading[1] == name), "")


def obstacles(root: Path) -> list[str]:
    """Return what must be done before the version that the library says can be made final; nothing if all is well."""
    return [*_of_the_version(root, version(root)), *_of_the_tree(root), *_of_the_blobs(root)]


def _of_the_version(root: Path, wanted: str) -> Iterator[str]:
    changelog = (root / "CHANGELOG.md").read_text()
    if _is_final(root, wanted):
        yield f"Version {wanted} is final already (releases/{NAME}). Raise __version__ in src/lib/vrrp_drain/__init__.py"
    elif _git(root, "tag", "--list", wanted).strip():
        yield f"There is a tag {wanted} already, and no final version of that name. Raise __version__, or delete the tag if it is a mistake"
    if not section(changelog, wanted):
        yield f'CHANGELOG.md says nothing of {wanted}. Give what stands under "Unreleased" the heading "## {wanted} - DATE"'
    if section(changelog, "Unreleased"):
        yield f'CHANGELOG.md has changes under "Unreleased", which would be in {wanted}. Move them into the section of {wanted}'


def _of_the_tree(root: Path) -> Iterator[str]:
    changed = _git(root, "status", "--porcelain", "--untracked-files=normal").splitlines()
    if changed:
        yield _list("There are changes that are in no commit. Commit them, or take them back", changed)


def _of_the_blobs(root: Path) -> Iterator[str]:
    store = _load(root / "config/final.yml").get("blobstore", {})
    options = {**store.get("options", {}), **_load(root / "config/private.yml").get("blobstore", {}).get("options", {})}
    if not store.get("provider") or (store["provider"] == "local" and not options.get("blobstore_path")):
        yield "config/final.yml names no blobstore, where bosh keeps what a final version is made of: https://bosh.io/docs/create-release"
        return
    kept = root / options["blobstore_path"] if store["provider"] == "local" else None
    blobs = _load(root / "config/blobs.yml")
    if new := [path for path, blob in blobs.items() if not blob.get("object_id")]:
        commit = f"config/blobs.yml{f' and {kept.relative_to(root)}' if kept and kept.is_relative_to(root) else ''}"
        yield _list(f"These are in no blobstore yet. Say `make blobs`, then `bosh upload-blobs`, and commit {commit}", new)
    if kept and (lost := [path for path, blob in blobs.items() if "object_id" in blob and not (kept / blob["object_id"]).is_file()]):
        yield _list(
            f"config/blobs.yml has an object_id of these, and {kept} has no such file. Put it back, or upload them anew without", lost
        )


def _list(said: str, paths: list[str]) -> str:
    return "\n".join([f"{said}:", *(f"    {each}" for each in paths[:10]), *(["    …"] if paths[10:] else [])])


def create(root: Path, *, final: bool) -> Path:
    """Have bosh create the release, and return its tarball. Raises Refused."""
    wanted = version(root)
    if final and (found := obstacles(root)):
        raise Refused("\n".join(["No final version is made:", *(f"- {each}" for each in found)]))
    if not final and _is_final(root, wanted):
        commit = _load(root / "releases" / NAME / f"{NAME}-{wanted}.yml")["commit_hash"]
        raise Refused(
            f"Version {wanted} is final already, and nothing else may have its name.\n"
            f"For its very tarball: git checkout {commit} && make release\n"
            "For what this checkout has, raise __version__ in src/lib/vrrp_drain/__init__.py first"
        )
    # what bosh has built before may have been packed without our options, and it builds no version twice
    shutil.rmtree(root / ".dev_builds", ignore_errors=True)
    shutil.rmtree(root / "dev_releases" / NAME, ignore_errors=True)
    tarball = root / "build" / f"{NAME}-{wanted}.tgz"
    tarball.parent.mkdir(exist_ok=True)
    command = ["bosh", "--non-interactive", "create-release", *(["--final"] if final else ["--force"]), "--version", wanted]
    try:
        done = subprocess.run([*command, "--tarball", tarball], cwd=root, env=environment(os.environ), check=False)
    except FileNotFoundError:
        raise Refused(
            "There is no bosh CLI on PATH. `make tools` builds it where Go is there; or see https://bosh.io/docs/cli-v2-install"
        ) from None
    if done.returncode != 0:
        undo = (
            "\nBefore the next try take back what it wrote: git restore . && git clean -df releases .final_builds final_blobs"
            if final
            else ""
        )
        raise Refused(f"`{shlex.join(command)}` failed; what it said is above.{undo}")
    return tarball


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return ``given`` without what would change the tarball, and with what keeps it the same."""
    number = int(given.get("GIT_CONFIG_COUNT", "0"))
    return {
        **{name: value for name, value in given.items() if name not in _OTHER_BYTES},
        "TAR_OPTIONS": _TAR,
        "GIT_CONFIG_COUNT": str(number + 1),
        f"GIT_CONFIG_KEY_{number}": "core.abbrev",
        f"GIT_CONFIG_VALUE_{number}": _COMMIT_DIGITS,
    }


def _is_final(root: Path, wanted: str) -> bool:
    builds = _load(root / "releases" / NAME / "index.yml").get("builds", {})
    return any(build["version"] == wanted for build in builds.values())


def _load(file: Path) -> dict[str, Any]:
    return (yaml.safe_load(file.read_text()) or {}) if file.exists() else {}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refused(f"`{shlex.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


def main() -> int:
    """Create the release in the current directory: a final one if that is the argument."""
    if sys.argv[1:] not in ([], ["final"]):
        print(f"usage: {sys.argv[0]} [final]", file=sys.stderr)
        return 2
    root, final = Path.cwd(), sys.argv[1:] == ["final"]
    try:
        tarball = create(root, final=final)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    print(f"sha256 {hashlib.sha256(tarball.read_bytes()).hexdigest()}  {tarball.relative_to(root)}")
    if final:
        wanted = version(root)
        notes = tarball.with_suffix(".md")
        notes.write_text(section((root / "CHANGELOG.md").read_text(), wanted) + "\n")
        print(f"notes  {notes.relative_to(root)}")
        print("Now keep it: what bosh wrote belongs into git, and the tarball and the notes to the tag.")
        print(f"  git add releases .final_builds final_blobs && git commit --message 'Version {wanted}' && git tag {wanted}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
