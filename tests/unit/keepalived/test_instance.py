"""What follows from configuration and machine: priorities, and whose keepalived it is."""

from pathlib import Path

import pytest

from unit.support.fakes import rendered
from vrrp_drain.config.model import Config
from vrrp_drain.keepalived import priority_control
from vrrp_drain.keepalived.instance import Instance
from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime.paths import Paths
from vrrp_drain.vrrp.bands import Band


@pytest.fixture
def beside(tmp_path: Path, paths: Paths, netlink: Netlink) -> Instance:
    """An instance beside another release's keepalived job."""
    (tmp_path / "keepalived.config").write_text("vrrp_instance one {\npriority 101\n}\n")
    files = {"keepalived_config": f"{tmp_path}/keepalived.config", "keepalived_pid_file": f"{tmp_path}/keepalived.pid"}
    return Instance.find(Config.parse(rendered(vrrp_drain=files)), paths, netlink)


@pytest.mark.parametrize(
    ("band", "unhealthy", "priority", "beside_it"),
    [(Band.ACTIVE, False, 254, 101), (Band.ACTIVE, True, 66, 51), (Band.DRAINING, False, 99, 81), (Band.DRAINING, True, 1, 31)],
)
def test_what_it_adverts(
    beside: Instance, paths: Paths, netlink: Netlink, band: Band, unhealthy: bool, priority: int, beside_it: int
) -> None:
    """Band and mark together decide it, as keepalived reckons and as the other job's configuration has it."""
    ours = Instance.find(Config.parse(rendered()), paths, netlink)
    for each, expected in ((ours, priority), (beside, beside_it)):
        control = priority_control.find(each.config, paths)
        control.write(band)
        assert each.priority(band, unhealthy=unhealthy) == expected
        control.mark(unhealthy=unhealthy)
    assert f"priority {beside_it}" in priority_control.find(beside.config, paths).path.read_text()


def test_another_jobs_keepalived_is_found_by_its_pid_file(beside: Instance, tmp_path: Path) -> None:
    """Whether keepalived runs is asked of the other job's pid file."""
    assert beside.pid_file == tmp_path / "keepalived.pid"
