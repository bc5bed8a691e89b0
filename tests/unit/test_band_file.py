"""The track file: always a whole band, or a clear word about what it is instead."""

import os
from pathlib import Path

import pytest

from vrrp_drain.band_file import BandFile
from vrrp_drain.bands import Band
from vrrp_drain.errors import SystemFault


@pytest.fixture
def band_file(tmp_path: Path) -> BandFile:
    return BandFile(tmp_path / "run")


@pytest.mark.parametrize("band", Band)
def test_what_was_written_is_read(band_file: BandFile, band: Band) -> None:
    """A band survives the file, whose content is the offset that keepalived adds to the priority."""
    band_file.write(band)
    assert band_file.read() is band
    assert band_file.path.read_text() == f"{band.value}\n"


def test_no_file_is_no_band(band_file: BandFile) -> None:
    """Before anything is written, as after a reboot, there is no band and no time of its change."""
    assert band_file.read() is None
    assert band_file.changed_at() is None


@pytest.mark.parametrize("content", [b"", b"-50\n", b"draining", b"0 0", b"\xff\xfe"])
def test_a_damaged_file_is_named(band_file: BandFile, content: bytes) -> None:
    """What is no band is refused with the path, the allowed values and the way out, and can be written anew."""
    band_file.write(Band.ACTIVE)
    band_file.path.write_bytes(content)
    with pytest.raises(
        SystemFault, match=rf"^{band_file.path} holds .*allowed is 0 \(active\) or -155 \(draining\): run vrrpctl promote or demote"
    ):
        band_file.read()
    band_file.write(Band.DRAINING)
    assert band_file.read() is Band.DRAINING


def test_a_reader_never_sees_half_a_band(band_file: BandFile) -> None:
    """A write replaces the file: who has the old one open reads the old band to its end, and no scratch file stays."""
    band_file.write(Band.DRAINING)
    with band_file.path.open() as reader:
        band_file.write(Band.ACTIVE)
        assert reader.read() == "-155\n"
    assert list(band_file.path.parent.iterdir()) == [band_file.path]


def test_the_same_band_again_is_no_change(band_file: BandFile) -> None:
    """Writing the band that holds already wakes nobody up and keeps the time of the last change."""
    band_file.write(Band.DRAINING)
    os.utime(band_file.path, (1, 1))
    band_file.write(Band.DRAINING)
    assert band_file.changed_at() == 1


def test_a_band_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """The message says which priority could not be asked for, and that the old one still holds."""
    (tmp_path / "run").write_text("a file where the directory should be")
    with pytest.raises(SystemFault, match=rf"^cannot write draining \(-155\) to {tmp_path}/run/band: .*; the priority is unchanged$"):
        BandFile(tmp_path / "run").write(Band.DRAINING)


def test_a_band_that_cannot_be_read_says_so(band_file: BandFile) -> None:
    """An error of the file system is not taken for a missing band."""
    band_file.path.mkdir(parents=True)
    with pytest.raises(SystemFault, match=f"^cannot read {band_file.path}: it is a directory"):
        band_file.read()


def test_health_is_beside_the_band(band_file: BandFile) -> None:
    """The watcher's mark is a file of its own, which adds to the priority what a failed check does: neither undoes the other."""
    assert not band_file.unhealthy()
    band_file.mark(unhealthy=True)
    band_file.write(Band.DRAINING)
    assert (band_file.unhealthy(), band_file.read()) == (True, Band.DRAINING)
    assert band_file.health_path.read_text() == "-188\n"
    band_file.mark(unhealthy=False)
    assert (band_file.unhealthy(), band_file.read()) == (False, Band.DRAINING)
    assert band_file.health_path.read_text() == "0\n"


@pytest.mark.parametrize("content", [b"", b"-1", b"dead", b"\xff"])
def test_a_damaged_health_file_marks_nobody(band_file: BandFile, content: bytes) -> None:
    """Only the whole value counts, and it can be written anew."""
    band_file.mark(unhealthy=True)
    band_file.health_path.write_bytes(content)
    assert not band_file.unhealthy()
    band_file.mark(unhealthy=True)
    assert band_file.unhealthy()


def test_health_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """The message says which mark could not be set."""
    (tmp_path / "run").write_text("a file where the directory should be")
    with pytest.raises(SystemFault, match=rf"^cannot write unhealthy \(-188\) to {tmp_path}/run/health: .*; the priority is unchanged$"):
        BandFile(tmp_path / "run").mark(unhealthy=True)
