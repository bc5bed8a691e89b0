"""The track file: always a whole band, or a clear word about what it is instead."""

import os
from pathlib import Path

import pytest

from vrrp_drain.keepalived.track_files import TrackFiles
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.vrrp.bands import Band


@pytest.fixture
def track_files(tmp_path: Path) -> TrackFiles:
    return TrackFiles(tmp_path / "run")


@pytest.mark.parametrize("band", Band)
def test_what_was_written_is_read(track_files: TrackFiles, band: Band) -> None:
    """A band survives the file, whose content is the offset that keepalived adds to the priority."""
    track_files.write(band)
    assert track_files.read() is band
    assert track_files.path.read_text() == f"{band.value}\n"


def test_no_file_is_no_band(track_files: TrackFiles) -> None:
    """Before anything is written, as after a reboot, there is no band and no time of its change."""
    assert track_files.read() is None
    assert track_files.changed_at() is None


@pytest.mark.parametrize("content", [b"", b"-50\n", b"draining", b"0 0", b"\xff\xfe"])
def test_a_damaged_file_is_named(track_files: TrackFiles, content: bytes) -> None:
    """What is no band is refused with the path, the allowed values and the way out, and can be written anew."""
    track_files.write(Band.ACTIVE)
    track_files.path.write_bytes(content)
    with pytest.raises(
        SystemFault, match=rf"^{track_files.path} holds .*allowed is 0 \(active\) or -155 \(draining\): run vrrpctl promote or demote"
    ):
        track_files.read()
    track_files.write(Band.DRAINING)
    assert track_files.read() is Band.DRAINING


def test_a_reader_never_sees_half_a_band(track_files: TrackFiles) -> None:
    """A write replaces the file: who has the old one open reads the old band to its end, and no scratch file stays."""
    track_files.write(Band.DRAINING)
    with track_files.path.open() as reader:
        track_files.write(Band.ACTIVE)
        assert reader.read() == "-155\n"
    assert list(track_files.path.parent.iterdir()) == [track_files.path]


def test_the_same_band_again_is_no_change(track_files: TrackFiles) -> None:
    """Writing the band that holds already wakes nobody up and keeps the time of the last change."""
    track_files.write(Band.DRAINING)
    os.utime(track_files.path, (1, 1))
    track_files.write(Band.DRAINING)
    assert track_files.changed_at() == 1


def test_a_band_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """The message says which priority could not be asked for, and that the old one still holds."""
    (tmp_path / "run").write_text("a file where the directory should be")
    with pytest.raises(SystemFault, match=rf"^cannot write draining \(-155\) to {tmp_path}/run/band: .*; the priority is unchanged$"):
        TrackFiles(tmp_path / "run").write(Band.DRAINING)


def test_a_band_that_cannot_be_read_says_so(track_files: TrackFiles) -> None:
    """An error of the file system is not taken for a missing band."""
    track_files.path.mkdir(parents=True)
    with pytest.raises(SystemFault, match=f"^cannot read {track_files.path}: it is a directory"):
        track_files.read()


def test_health_is_beside_the_band(track_files: TrackFiles) -> None:
    """The watcher's mark is a file of its own, which adds to the priority what a failed check does: neither undoes the other."""
    assert not track_files.unhealthy()
    track_files.mark(unhealthy=True)
    track_files.write(Band.DRAINING)
    assert (track_files.unhealthy(), track_files.read()) == (True, Band.DRAINING)
    assert track_files.health_path.read_text() == "-188\n"
    track_files.mark(unhealthy=False)
    assert (track_files.unhealthy(), track_files.read()) == (False, Band.DRAINING)
    assert track_files.health_path.read_text() == "0\n"


@pytest.mark.parametrize("content", [b"", b"-1", b"dead", b"\xff"])
def test_a_damaged_health_file_marks_nobody(track_files: TrackFiles, content: bytes) -> None:
    """Only the whole value counts, and it can be written anew."""
    track_files.mark(unhealthy=True)
    track_files.health_path.write_bytes(content)
    assert not track_files.unhealthy()
    track_files.mark(unhealthy=True)
    assert track_files.unhealthy()


def test_health_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    """The message says which mark could not be set."""
    (tmp_path / "run").write_text("a file where the directory should be")
    with pytest.raises(SystemFault, match=rf"^cannot write unhealthy \(-188\) to {tmp_path}/run/health: .*; the priority is unchanged$"):
        TrackFiles(tmp_path / "run").mark(unhealthy=True)
