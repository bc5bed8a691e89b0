"""What the watcher hears of the segment, on the wire: adverts, of whoever sends them, and peers' hellos.

Peers are heard whatever else there is on the segment, so the stream is told who they are as soon as that is known.
"""

import logging
import selectors
from collections.abc import Callable

from vrrp_drain.handover.advert_stream import WireStream
from vrrp_drain.handover.services import Services
from vrrp_drain.vrrp import hello
from vrrp_drain.vrrp.advert import RESIGN
from vrrp_drain.vrrp.election import Heard, Standing
from vrrp_drain.vrrp.hello import Open
from vrrp_drain.vrrp.peer_table import PeerTable

from .acquaintance import Acquaintance
from .actions import Introduction
from .announcing import Announcing
from .metrics import Metrics

log = logging.getLogger(__name__)


class Hearing:
    """Keeps the ``peer_table``, and tells those who act on hellos and adverts. ``open`` it before anything else."""

    def __init__(
        self,
        services: Services,
        peer_table: PeerTable,
        metrics: Metrics,
        introduction: Introduction,
        announcing: Announcing,
        acquaintance: Acquaintance,
        outranks: Callable[[int], bool],
        hear_peer: Callable[[Heard], None],
    ) -> None:
        """``outranks`` tells whether we are MASTER and stay so beside a peer of that priority; ``hear_peer`` gets all adverts first."""
        self._services, self._instance, self._peer_table, self._metrics = services, services.instance, peer_table, metrics
        self._introduction, self._announcing, self._acquaintance = introduction, announcing, acquaintance
        self._outranks, self._hear_peer = outranks, hear_peer
        self._register = services.membership.register()

    def open(self, selector: selectors.BaseSelector) -> None:
        """Hear from now on, whenever ``selector`` finds something. Raises SystemFault."""
        self._selector = selector
        self._open_stream()
        self._know()

    def close(self) -> None:
        self._stream.close()

    def fileno(self) -> int:
        return self._stream.fileno()

    def receive(self) -> None:
        """Take in what has arrived."""
        for heard in self._stream.receive():
            if heard.standing is Standing.HELLO:
                self._hear_hello(heard)
            self._hear_peer(heard)
            if self._yields_to_us(heard):
                self._announcing.meet(heard.at)
            if verdict := self._peer_table.hear(heard):
                self._metrics.advert(verdict)
            if heard.standing in (Standing.PEER, Standing.CHANGING) and heard.source not in self._known:
                self._know()

    def renew(self) -> None:
        """Addresses or links have changed, or it is time to see whether they have. Raises SystemFault."""
        self._register.renew()
        anew = self._services.vip.interface_index() not in (None, self._index)
        if anew:
            deaf = self._stream
            self._open_stream()
            self._selector.unregister(deaf.fileno())
            deaf.close()
        self._know()
        if anew:
            log.info("%s was made anew: putting in place again what a handover needs of it", self._instance.interface)
            self._services.installation.hold()

    def _open_stream(self) -> None:
        index = self._services.vip.interface_index()
        self._stream = WireStream(self._services.machine, self._instance, self._register)
        self._selector.register(self._stream.fileno(), selectors.EVENT_READ, self.receive)
        self._index = index

    def _know(self) -> None:
        """Have the peers' adverts heard whatever else there is on the segment."""
        self._known = self._register.current.members | self._peer_table.sources
        self._stream.know(self._known)

    def _hear_hello(self, heard: Heard) -> None:
        starts = hello.found(heard.packet) is Open.NONE
        self._introduction.hear(heard.source, heard.at, starts=starts)
        self._announcing.hear(hello.word(heard.packet))
        if heard.source not in self._known:
            self._acquaintance.hear()

    def _yields_to_us(self, heard: Heard) -> bool:
        """Tell whether a peer adverts as MASTER beside us, and we stay (RFC 5798 section 6.4.3)."""
        if heard.advert is None or heard.standing is not Standing.PEER or heard.advert.priority == RESIGN:
            return False
        return self._outranks(heard.advert.priority)
