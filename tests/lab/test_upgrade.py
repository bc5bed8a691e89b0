"""The main job: a rolling upgrade of three nodes under load, the canary being the MASTER."""

from pathlib import Path

import pytest

from lab.benches import report
from lab.fabric.cluster import ALL_JOBS
from lab.scenarios import upgrade


@pytest.mark.timeout(240)
def test_nobody_notices_a_rolling_upgrade(package: Path, tmp_path: Path) -> None:
    """With vrrp-drain no request fails, no SYN is lost, and open connections and transfers survive; without it all of them suffer."""
    without = upgrade.run("without", package, ("keepalived", "haproxy"), watch_seconds=1.0)
    ours = upgrade.run("with", package, ALL_JOBS, watch_seconds=1.0, vrrp_drain={"drain_timeout": 20})
    new = ours.found.of("new")
    assert len(new) > 3000
    assert ours.found.failed("new") == []
    assert ours.found.lost_syns() == []
    assert ours.found.failed("established") == []
    assert ours.broken == []
    assert {each.kind for each in ours.transfers} == {"download", "upload", "slow"}
    assert ours.kept
    assert without.broken, "without handoff every move breaks them"
    assert without.found.failed("established"), "without handoff every move breaks them"
    assert (ours.moves[0].source, ours.moves[0].target) == ("haproxy/0", "haproxy/1")
    assert ours.moves[-1].target == "haproxy/0", "a machine that stands still for long may make more moves in between"
    assert [(run.exit_code, run.stdout) for _, run in ours.drains] == [(0, "0\n")] * 3
    assert without.found.failed("new"), "the comparison must be an honest one: something fails without vrrp-drain"
    written = report.write([without, ours], tmp_path)
    assert [path.name for path in written] == ["result.json", "timeline.png", "report.html"]
    assert all(path.stat().st_size > 1000 for path in written)
