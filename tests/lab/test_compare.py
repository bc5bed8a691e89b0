"""`make bench`'s comparison, one round each: what every way to move a VIP does to connections, and what the handoff forwards."""

from pathlib import Path

import pytest

from lab.benches import bars, bulk, compare
from lab.scenarios.ways import WAYS, Way

HANDOFF, *OTHERS = WAYS
TRIED = [OTHERS[0], OTHERS[-1]]  # ours without the handoff, and another program altogether; `make bench` tries all


def test_with_handoff_nothing_breaks(package: Path) -> None:
    """The VIP leaves and comes back, and no connection, new or established, and no transfer is lost."""
    comparison = compare.run(package, HANDOFF, rounds=1)
    (found,) = comparison.rounds
    assert (found.failed, found.reset, found.transfers_broken) == (0, 0, 0)


@pytest.mark.parametrize("way", TRIED, ids=lambda way: way.key)
def test_without_handoff_established_connections_break(package: Path, way: Way) -> None:
    """In every other way each client that stayed connected loses its connection, and transfers of all kinds break."""
    if lack := way.missing():
        pytest.skip(lack)
    (found,) = compare.run(package, way, rounds=1).rounds
    assert found.reset >= compare.KEEP_ALIVE
    assert found.transfers_broken >= 3 * compare.EACH


def test_what_is_forwarded(package: Path, tmp_path: Path) -> None:
    """One connection is direct and handed off in turn: of an upload every byte takes the way through the new MASTER, of a download
    hardly any; the picture has both."""
    found = bulk.run(package, rounds=1, seconds=0.3)
    upload, download = found
    assert (upload.kind, download.kind) == ("upload", "download")
    assert upload.forwarded == pytest.approx(1.0, abs=0.2)
    assert download.forwarded < 0.1
    rounds = [compare.Round(1, 1, 1, 1, 1, 1.0, 1.0, 1.0)]
    bars.draw([compare.Comparison(way.key, way.name, rounds, None, 0.0) for way in WAYS], found, tmp_path / "compare.png")
    assert (tmp_path / "compare.png").stat().st_size > 10_000
