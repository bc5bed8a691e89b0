"""Puts back what somebody takes away: our nftables rules, the VIPs on lo, the ARP settings.

`nft flush ruleset` and whatever reloads a firewall take the rules of everybody. Nobody notices before the next move, which then cuts all
that is open. The kernel tells of each change of nftables and of addresses, so all is looked at in that moment, and otherwise now and then.
"""

import time

from vrrp_drain.handover.installation import Installation
from vrrp_drain.runtime.errors import SystemFault
from vrrp_drain.runtime.logs import Complaints

_LOOK_EVERY = 10.0  # seconds: a look asks the kernel for its rules, ten milliseconds of a core
_AT_MOST_EVERY = 0.5  # however often somebody changes something
_AGAIN = 30.0  # after what could not be put back
_FRONTENDS_EVERY = 2.0  # seconds: haproxy may be reloaded and listen elsewhere
_MEET_EVERY = 1.0  # how long who has just become a member may have no way through the tunnel


class Guard:
    """An action of the watcher's; ``lost`` says what is missing and who changed something last, or nothing. Times are monotonic."""

    def __init__(self, installation: Installation, complaints: Complaints) -> None:
        self._installation, self._complaints = installation, complaints
        self._looked, self._due, self._frontends_due, self._meet_at = float("-inf"), 0.0, 0.0, 0.0
        self._seen_whole = False
        self._by = ""
        self.lost = ""

    def changed(self, by: str = "") -> None:
        """Something of the kernel's changed that may be ours, ``by`` whom, if that is known: it is until a look finds all there."""
        self._by = by or self._by
        self._frontends_due = min(self._frontends_due, time.monotonic() + _AT_MOST_EVERY)
        self._due = min(self._due, max(time.monotonic(), self._looked + _AT_MOST_EVERY))

    def tick(self, now: float) -> None:
        """Look if it is time, and put back what is missing.

        What never was there is not told as lost: pre-start said why it could not be had.
        """
        if now >= self._frontends_due:
            self._frontends_due = now + _FRONTENDS_EVERY
            self._tell_frontends()
        if now >= self._meet_at:
            self._meet_at = now + _MEET_EVERY
            self._meet()
        if now < self._due:
            return
        self._looked, self._due = now, now + _LOOK_EVERY
        try:
            lacks = self._installation.lacks()
        except SystemFault:  # others say so: there is no nftables, or the interface went
            return
        if not lacks:
            self._seen_whole, self.lost, self._by = True, "", ""
            return
        if self._seen_whole:
            by = f", since a change by {self._by}" if self._by else ""
            self.lost = f"{', '.join(lacks)} {'is' if len(lacks) == 1 else 'are'} gone{by}: a move would have cut open connections"
        try:
            self._installation.mend()
            self._due = now + _AT_MOST_EVERY
            self._complaints.over("guard")
        except SystemFault as error:
            self._due = now + _AGAIN
            if self._seen_whole:
                self._complaints.about("guard", f"what was taken away cannot be put back ({error}): it is tried again")

    def _tell_frontends(self) -> None:
        try:
            self._installation.tell_frontends()
            self._complaints.over("frontends")
        except SystemFault as error:
            self._complaints.about("frontends", f"{error}; it is tried again")

    def _meet(self) -> None:
        try:
            self._installation.meet()
            self._complaints.over("tunnel")
        except SystemFault as error:
            if self._seen_whole and not self.lost:
                self._complaints.about("tunnel", f"{error}: their clients hang when the VIP moves; it is tried again")
