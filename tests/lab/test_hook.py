"""The worked example of docs/iaas.md: a notification hook tells a network that does not learn from ARP where the VIP is."""

import http.server
import re
import threading
from pathlib import Path

from lab.conftest import MakeCluster
from lab.fabric.cluster import Cluster
from lab.fabric.node import Node
from lab.fabric.release import REPOSITORY
from lab.fabric.wait import until

REFUSALS = 2  # the API answers so many calls with an error


class Api(http.server.BaseHTTPRequestHandler):
    """A cloud's API that fails at first; notes what it was told."""

    calls: list[tuple[str, str]] = []  # noqa: RUF012  (of the class: every request makes an object)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.calls.append((self.path, body))
        self.send_response(500 if len(self.calls) <= REFUSALS else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def install_hook(node: Node) -> None:
    """Put the page's script where the page says."""
    page = (REPOSITORY / "docs/iaas.md").read_text()
    found = re.search(r"```sh\n(.*?)```", page, re.DOTALL)
    assert found
    script = node.vcap / "jobs/vip-hook/bin/moved"
    script.parent.mkdir(parents=True)
    script.write_text(found[1].replace("#!/bin/bash\n", "#!/bin/bash\nVIP_API=http://10.0.0.200:8000\n"))
    script.chmod(0o755)
    Path(node.vcap, "sys/log/vip-hook").mkdir(parents=True)


def serve(cluster: Cluster) -> http.server.HTTPServer:
    server = cluster.client.in_network(lambda: http.server.HTTPServer(("10.0.0.200", 8000), Api))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_the_network_is_told_until_it_listens(make_cluster: MakeCluster) -> None:
    """The new MASTER calls the API again until it succeeds; a BACKUP calls nobody."""
    Api.calls.clear()
    hook = "notify /var/vcap/jobs/vip-hook/bin/moved"
    cluster = make_cluster(1, create=False, keepalived={"unicast": True, "extra_instance_config": hook})
    (only,) = cluster.nodes
    install_hook(only)
    server = serve(cluster)
    try:
        only.start()
        until(lambda: len(Api.calls) > REFUSALS, "the hook to have been heard", 20)
        assert Api.calls == [("/addresses/10.0.0.10", "instance=haproxy-0")] * (REFUSALS + 1)
    finally:
        server.shutdown()
        server.server_close()
