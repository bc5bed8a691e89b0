"""The release as `make release` and `make final` create it, in copies of this checkout: the same bytes each time, and what is refused."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import create_release
from lab.fabric.release import REPOSITORY, clone_checkout, load_yaml, unpack
from release.builder import Builder
from release.conftest import Bosh
from vrrp_drain import __version__

TARBALL = f"build/vrrp-drain-{__version__}.tgz"
NOTES = "### Added\n\n- Something that an operator sees."
# what `make final` waits for: the section of the version, and nothing beside it
CHANGELOG = f"# Changelog\n\n## Unreleased\n\n## {__version__} - 2026-01-01\n\n{NOTES}\n\n## 0.0.1 - 2025-01-01\n\n- Older.\n"

pytestmark = pytest.mark.xdist_group("bosh")


US = Builder()


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def ready(bosh: Bosh, blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of which everything is in a commit, the blobs uploaded: `make final` has nothing to say against it."""
    copy = tmp_path_factory.mktemp("ready") / "vrrp-drain"
    clone_checkout(copy)
    (copy / "CHANGELOG.md").write_text(CHANGELOG)
    bosh("upload-blobs", cwd=copy)
    US.git(copy, "add", "--all")
    US.git(copy, "commit", "--quiet", "--message", "Ready")
    return copy


@pytest.fixture
def copy(ready: Path, tmp_path: Path) -> Path:
    """Give a clone of it with its blobs, to do with as a test likes."""
    return _clone(ready, tmp_path / "vrrp-drain", blobs=True)


def _clone(ready: Path, into: Path, *, blobs: bool) -> Path:
    into.parent.mkdir(parents=True, exist_ok=True)
    US.git(ready, "clone", "--quiet", str(ready), str(into))
    if blobs:
        shutil.copytree(ready / "blobs", into / "blobs")
    return into


@pytest.fixture
def other_disk() -> Iterator[str]:
    """Give a home, where bosh packs, on a file system that lists a directory's files in another order."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield directory


def test_the_same_commit_is_the_same_tarball(ready: Path, tmp_path: Path, other_disk: str) -> None:
    """Byte for byte, in another directory, later, by another user with another umask, home, language, time zone, disk and compression."""
    settings = {"HOME": other_disk, "LANG": "tr_TR.UTF-8", "TZ": "Asia/Tokyo"}
    somebody = Builder(0o077, 1000, {**settings, "GZIP": "-1", "TAR_OPTIONS": "--sort=none", "BOSH_SHA2": "1"})
    sums = []
    for builder, place in ((US, "here"), (somebody, "some/where/else")):
        mine = _clone(ready, tmp_path / place / "vrrp-drain", blobs=True)
        if builder is somebody:
            US.git(mine, "config", "core.abbrev", "20")
            for path in (each for each in mine.rglob("*") if ".git" not in each.parts and not each.is_symlink()):
                path.chmod(path.stat().st_mode & ~0o077)  # as a checkout with that umask
                os.utime(path, (1, 1))
        done = builder.create(mine)
        assert done.returncode == 0, done.stderr
        sums.append(_sha256(mine / TARBALL))
        assert sums[-1] in done.stdout
    assert sums[0] == sums[1]


def test_what_bosh_has_built_before_is_not_in_it(copy: Path) -> None:
    """bosh keeps what it packed by hand, with its time and its owners; `make release` packs it anew."""
    first = US.create(copy)
    expected = _sha256(copy / TARBALL)
    shutil.rmtree(copy / ".dev_builds")
    by_hand = US.run(copy, "bosh", "--non-interactive", "create-release", "--force", "--version", "0.0.0+by.hand")
    assert US.create(copy).returncode == by_hand.returncode == first.returncode == 0
    assert _sha256(copy / TARBALL) == expected


def test_a_final_version(bosh: Bosh, ready: Path, copy: Path, tmp_path: Path) -> None:
    """Without network: its tarball, its notes, and what bosh keeps of it; and any clone of that creates the same tarball again."""
    done = US.create(copy, "final")
    assert done.returncode == 0, done.stderr
    manifest = load_yaml((unpack(copy / TARBALL, tmp_path / "unpacked") / "release.MF").read_text())
    assert (manifest["version"], manifest["uncommitted_changes"]) == (__version__, False)
    assert US.git(ready, "rev-parse", "HEAD").startswith(manifest["commit_hash"])
    assert (copy / TARBALL).with_suffix(".md").read_text() == f"{NOTES}\n"
    assert bosh("inspect-local-release", copy / TARBALL).split()[:3] == ["vrrp-drain", __version__, manifest["commit_hash"]]

    changed = {line.split()[1].split("/")[0] for line in US.git(copy, "status", "--porcelain").splitlines()}
    assert changed == {"releases", ".final_builds", "final_blobs"}
    for each in changed:
        assert each in done.stdout  # it says what to commit
    US.git(copy, "add", "--all")
    US.git(copy, "commit", "--quiet", "--message", "Final")
    clone = _clone(copy, tmp_path / "clone/vrrp-drain", blobs=False)
    bosh("create-release", f"releases/vrrp-drain/vrrp-drain-{__version__}.yml", "--tarball", tmp_path / "again.tgz", cwd=clone)
    archives = [
        {path.name: _sha256(path) for path in unpack(each, tmp_path / each.stem).rglob("*.tgz")}
        for each in (copy / TARBALL, tmp_path / "again.tgz")
    ]
    assert archives[0] == archives[1]

    refused = US.create(clone)
    assert refused.returncode == 1
    assert f"For its very tarball: git checkout {manifest['commit_hash']} && make release\n" in refused.stderr
    US.git(clone, "checkout", "--quiet", manifest["commit_hash"])
    assert US.create(clone).returncode == 0
    assert _sha256(clone / TARBALL) == _sha256(copy / TARBALL)
    again = US.create(copy, "final")
    assert again.returncode == 1
    assert f"Version {__version__} is final already (releases/vrrp-drain). Raise __version__" in again.stderr


def _no_section(copy: Path) -> None:
    (copy / "CHANGELOG.md").write_text(CHANGELOG.replace(f"## {__version__} ", "## 9.9.9 "))


def _empty_section(copy: Path) -> None:
    (copy / "CHANGELOG.md").write_text(CHANGELOG.replace(NOTES, ""))


def _unreleased(copy: Path) -> None:
    (copy / "CHANGELOG.md").write_text(CHANGELOG.replace("## Unreleased\n", "## Unreleased\n\n- Not yet.\n"))


def _tag(copy: Path) -> None:
    US.git(copy, "tag", __version__)


def _no_blobstore(copy: Path) -> None:
    (copy / "config/final.yml").write_text("---\nname: vrrp-drain\n")


def _no_path(copy: Path) -> None:
    (copy / "config/final.yml").write_text("---\nname: vrrp-drain\nblobstore:\n  provider: local\n")


def _not_uploaded(copy: Path) -> None:
    shutil.copy(REPOSITORY / "config/blobs.yml", copy / "config/blobs.yml")


def _lost(copy: Path) -> None:
    next(iter((copy / "final_blobs").iterdir())).unlink()


def _file(copy: Path) -> None:
    (copy / "new.txt").touch()


def _change(copy: Path) -> None:
    (copy / "packages/keepalived/packaging").write_text("exit 1\n")


REFUSED: dict[Callable[[Path], None], str] = {
    _no_section: f'CHANGELOG.md says nothing of {__version__}. Give what stands under "Unreleased" the heading "## {__version__} - DATE"',
    _empty_section: f"CHANGELOG.md says nothing of {__version__}.",
    _unreleased: f'CHANGELOG.md has changes under "Unreleased", which would be in {__version__}. Move them',
    _tag: f"There is a tag {__version__} already, and no final version of that name. Raise __version__",
    _no_blobstore: "config/final.yml names no blobstore",
    _no_path: "config/final.yml names no blobstore",
    _not_uploaded: "Say `make blobs`, then `bosh upload-blobs`, and commit config/blobs.yml and final_blobs:\n    keepalived/keepalived-",
    _lost: "has no such file. Put it back, or upload them anew without:\n    ",
}


@pytest.mark.parametrize("harm", REFUSED, ids=lambda harm: harm.__name__.strip("_"))
def test_what_is_refused(copy: Path, harm: Callable[[Path], None]) -> None:
    """One line says what is wrong and what to do, nothing else is said, and nothing is written."""
    harm(copy)
    US.git(copy, "add", "--all")
    US.git(copy, "commit", "--quiet", "--allow-empty", "--message", "Harm")
    done = US.create(copy, "final")
    said = [line for line in done.stderr.splitlines() if line.startswith("- ")]
    assert (done.returncode, done.stdout, len(said)) == (1, "", 1), done.stderr
    assert REFUSED[harm] in done.stderr
    assert US.git(copy, "status", "--porcelain") == ""
    assert not (copy / "releases").exists()


@pytest.mark.parametrize("change", [_file, _change])
def test_what_is_in_no_commit_is_refused(copy: Path, change: Callable[[Path], None]) -> None:
    """A final version is made of a commit, and a file that git does not know could be in it as well."""
    change(copy)
    before = US.git(copy, "status", "--porcelain")
    done = US.create(copy, "final")
    assert (done.returncode, done.stdout) == (1, "")
    assert "There are changes that are in no commit. Commit them, or take them back:\n    " in done.stderr
    assert before.strip() in done.stderr
    assert US.git(copy, "status", "--porcelain") == before


def test_all_that_lacks_is_said_at_once(copy: Path) -> None:
    """Nobody mends one thing after the other, a run of `make final` between them."""
    for harm in (_no_section, _not_uploaded, _tag):
        harm(copy)
    said = US.create(copy, "final").stderr
    assert [words for words in (REFUSED[_no_section], REFUSED[_not_uploaded], REFUSED[_tag]) if words not in said] == []
    assert "There are changes that are in no commit" in said


def test_a_bosh_that_fails_is_told(copy: Path) -> None:
    """With what it said, and how to take back what it wrote until then."""
    (copy / "packages/keepalived/spec").write_text("not: a\nspec\n")
    US.git(copy, "commit", "--quiet", "--all", "--message", "Harm")
    done = US.create(copy, "final")
    assert done.returncode == 1
    assert "failed; what it said is above.\nBefore the next try take back what it wrote: git restore" in done.stderr
    assert not (copy / TARBALL).exists()


def test_a_word_that_it_does_not_know_is_refused(copy: Path) -> None:
    """Who asks for "Final" does not get something else."""
    done = US.create(copy, "Final")
    assert (done.returncode, done.stderr) == (2, "usage: config/create_release.py [final]\n")
    assert not (copy / TARBALL).exists()


@pytest.mark.parametrize("arguments", [(), ("final",)])
def test_no_bosh_is_told(copy: Path, arguments: tuple[str, ...]) -> None:
    """Who has none is told how to get it."""
    done = Builder(environment={"PATH": "/usr/bin:/bin"}).create(copy, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("There is no bosh CLI on PATH. `make tools` builds it")


def test_sections_of_the_changelog() -> None:
    """Each version's own words, and of ours those that are there."""
    assert create_release.section(CHANGELOG, __version__) == NOTES
    assert create_release.section(CHANGELOG, "0.0.1") == "- Older."
    assert create_release.section(CHANGELOG, "Unreleased") == create_release.section(CHANGELOG, "0.0") == ""
    ours = (REPOSITORY / "CHANGELOG.md").read_text()
    assert create_release.section(ours, "Unreleased") or create_release.section(ours, __version__)
