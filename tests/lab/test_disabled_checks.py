"""A keepalived that has disabled its check of haproxy: post-start says so at once, and how to mend it; so do status and doctor."""

import time
from pathlib import Path
from typing import Any

import pytest

from lab.conftest import MakeCluster
from lab.fabric.agent import ScriptFailed
from lab.fabric.cluster import Cluster
from lab.fabric.node import Node

BESIDE = ("upstream-keepalived", "vrrp-drain", "haproxy")
POST_START_TIMEOUT = 60  # of which nothing is waited for
# ours speaks VRRP alone, and does not know the option for a pid file of health checkers
OURS = """#!/bin/bash
for each; do [[ $each == --checkers_pid* ]] || kept+=("$each"); done
exec /var/vcap/packages/keepalived/sbin/keepalived "${kept[@]}"
"""


def beside(make_cluster: MakeCluster, nodes: int = 1, **keepalived: Any) -> Cluster:
    """Deploy a group beside that job, whose keepalived is of the version that we have too: 2.3."""
    patience = {"post_start_timeout": POST_START_TIMEOUT}
    cluster = make_cluster(nodes, fast=False, create=False, jobs=BESIDE, vrrp_drain=patience, keepalived=keepalived)
    for node in cluster.nodes:
        (node.vcap / "keepalived").write_text(OURS)
        (node.vcap / "keepalived").chmod(0o755)
        assert node.machine.run(["/bin/mount", "--bind", "/var/vcap/keepalived", "/usr/sbin/keepalived"]).returncode == 0
    return cluster


def refusal(node: Node) -> str:
    """Start the node, which must fail before a fraction of its time is over; return what post-start said."""
    node.agent.run_script("pre-start")
    node.monit.start()
    started = time.monotonic()
    with pytest.raises(ScriptFailed) as failed:
        node.agent.run_script("post-start")
    assert time.monotonic() - started < POST_START_TIMEOUT / 4
    return str(failed.value)


def test_the_default_check_on_a_machine_whose_bin_is_a_link(make_cluster: MakeCluster) -> None:
    """With monit's PATH `killall` is /bin/killall. The mend that is told is one: with it the instance starts."""
    assert Path("/bin").is_symlink(), "else there is nothing to be disabled"
    cluster = beside(make_cluster, 2)
    first, second = cluster.nodes
    disabled = "keepalived has disabled its check check_haproxy (killall -0 haproxy): /bin, on its path /bin/killall, is a link"
    mend = "give it the path that has no link in it: /usr/bin/killall -0 haproxy"
    for node in cluster.nodes:
        said = refusal(node)
        assert disabled in said
        assert mend in said
        assert "This instance stays in the draining band, and the rollout halts here" in said
    assert any(each.startswith(f"checks: {disabled}") for each in first.status()["hindrances"])
    code, stdout, _ = second.vrrpctl("doctor")
    assert code == 8
    assert f"PROBLEM checks: {disabled}" in " ".join(stdout.split())
    cluster.properties["keepalived"]["healthcheck_command"] = "/usr/bin/killall -0 haproxy"
    for node in cluster.nodes:
        node.monit.stop()
        node.agent.run_script("post-stop")
        node.apply(cluster.jobs, cluster.group, cluster.properties, cluster.package)
        node.start()
        assert node.status()["hindrances"] == []
    first.wait_for(cluster.vip)


@pytest.mark.samples("not executable")
@pytest.mark.parametrize(
    ("make", "settings", "why", "mend"),
    [
        pytest.param(
            "rm $path", "", "/var/vcap/check: No such file or directory", "install it, or give the path where it is", id="missing"
        ),
        pytest.param("chmod 644 $path", "", "root may not execute /var/vcap/check", "chmod 755 /var/vcap/check", id="not executable"),
        pytest.param(
            *("chmod 777 $path", "enable_script_security\nscript_user root", "others than root may write /var/vcap/check"),
            *("chmod go-w /var/vcap/check",),
            id="others write",
        ),
        pytest.param(
            "", "enable_script_security", "its user keepalived_script does not exist", "name one that exists: script_user", id="user"
        ),
        pytest.param("ln -s /var/vcap /var/vcap/link", "", "/var/vcap/link, on its path", "the path that has no link in it", id="link"),
    ],
)
def test_a_check_that_keepalived_does_not_run(make_cluster: MakeCluster, make: str, settings: str, why: str, mend: str) -> None:
    """For whatever reason, and whatever that version of keepalived tells of it when it is asked."""
    command = "/var/vcap/link/check" if "link" in make else "/var/vcap/check"
    cluster = beside(make_cluster, healthcheck_command=command)
    (only,) = cluster.nodes
    script = f"path=/var/vcap/check; printf '#!/bin/sh\\n' > $path; chmod 755 $path; {make}"
    template = only.vcap / "jobs/keepalived/config/keepalived.config.template"
    template.write_text(template.read_text().replace("global_defs {", f"global_defs {{\n{settings}"))
    assert only.machine.run(["/bin/sh", "-ec", script], {"PATH": "/usr/bin"}).returncode == 0
    said = refusal(only)
    assert f"keepalived has disabled its check check_haproxy ({command}): {why}" in said
    assert mend in said


def test_our_own_job_does_not_start_with_one(make_cluster: MakeCluster) -> None:
    """keepalived takes a configuration whose check may not be executed; the job does not, and names it in its log."""
    cluster = make_cluster(1, create=False, keepalived={"healthcheck_command": "/var/vcap/check"})
    (only,) = cluster.nodes
    (only.vcap / "check").write_text("#!/bin/sh\n")
    only.agent.run_script("pre-start")
    done = only.machine.run(["/var/vcap/jobs/keepalived/bin/ctl", "start"], {"PATH": "/usr/bin"})
    assert done.returncode == 1
    assert "keepalived would disable its check check_haproxy (/var/vcap/check): root may not execute /var/vcap/check" in done.stderr
    assert "keepalived" not in only.machine.pids().values()
