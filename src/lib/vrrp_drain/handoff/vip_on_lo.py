"""The VIPs on lo as well, so that a move overlaps.

keepalived's new MASTER adverts before it has the VIP, and the old one gives the VIP up at that advert. In the
millisecond until clients have learnt the new MAC, their packets still reach the old one: with the VIP on lo it takes
them, without it a SYN is lost and sent again a second later. The interface must not answer ARP for an address of lo,
nor name it as the sender (arp_ignore, arp_announce in the kernel's networking/ip-sysctl): the classic set-up of direct
server return. IPv6 answers neighbour solicitations only for addresses of the interface that was asked.

What was there before is kept in a file beside the lock, on tmpfs like all the rest: a reboot undoes everything.
"""

import ipaddress
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vrrp_drain.linux.rtnetlink import Netlink
from vrrp_drain.runtime import files
from vrrp_drain.runtime.errors import SystemFault, what_happened
from vrrp_drain.runtime.ip import IPAddress

_LO = "lo"
WANTED = {"arp_ignore": 1, "arp_announce": 2}  # the least values


@dataclass(frozen=True)
class Held:
    """What ``hold`` did: which VIPs it put on lo, and the ARP settings that it found on ``interface``, by their names."""

    vips: tuple[IPAddress, ...]
    interface: str
    before: Mapping[str, int]


class VipOnLo:
    """Holds the VIPs on lo between pre-start and post-stop. Both are idempotent, and mend what a crash left half done."""

    def __init__(self, run_directory: Path, netlink: Netlink, interface_settings: Path) -> None:
        self._file = run_directory / "overlap.json"
        self._netlink = netlink
        self._settings = interface_settings

    def hold(self, vips: Sequence[IPAddress], interface: str) -> None:
        """Put ``vips`` on lo, once ``interface`` no longer answers for them. Raises SystemFault; nothing is left changed then."""
        if self._holds(vips, interface):
            return
        self.release()
        ours = [vip for vip in vips if not self._netlink.has_address(_LO, vip)]  # what somebody else put there stays theirs
        if not ours:
            return
        try:
            is_arp = any(vip.version == 4 for vip in ours)
            before = {name: int((self._settings / interface / name).read_text()) for name in WANTED} if is_arp else {}
            self._record(Held(tuple(ours), interface, before))
            for name, value in before.items():
                self._write(interface, name, max(value, WANTED[name]))
            for vip in ours:
                self._netlink.add_to_lo(vip)
        except (OSError, ValueError, SystemFault) as error:
            self.release()
            raise SystemFault(
                f"{', '.join(map(str, ours))} could not be put on lo ({_what(error)}): "
                "a connection that is opened in the millisecond of a move may be slow"
            ) from error

    def release(self, vips: Iterable[IPAddress] = ()) -> None:
        """Take away what ``hold`` added and put back what it found. Where that cannot be read any more, take ``vips`` off lo.

        Raises SystemFault, having undone all that can be undone; the file stays as long as something is left to undo.
        """
        try:
            held = self.held()
        except SystemFault:
            for vip in vips:
                self._netlink.remove_address(_LO, vip)
            raise
        if held is None:
            return
        problems = []
        for undo in self._undoing(held):
            try:
                undo()
            except OSError as error:
                problems.append(f"{error.filename}: {error.strerror}")
            except SystemFault as error:
                problems.append(str(error))
        if problems:
            raise SystemFault(f"cannot undo {self._file}: {'; '.join(problems)}")
        try:
            files.remove(self._file)
        except OSError as error:
            raise SystemFault(f"cannot remove {self._file}: {error.strerror}; what it tells of is undone") from error

    def _undoing(self, held: Held) -> Iterator[Callable[[], None]]:
        for vip in held.vips:
            yield partial(self._netlink.remove_address, _LO, vip)
        if (self._settings / held.interface).exists():
            for name, value in held.before.items():
                yield partial(self._write, held.interface, name, value)

    def held(self) -> Held | None:
        """Return what the last ``hold`` did that was not released, or was about to do when it was killed. Raises SystemFault."""
        try:
            recorded = json.loads(files.read(self._file))
            vips = tuple(ipaddress.ip_address(each) for each in recorded["vips"])
            return Held(vips, recorded["interface"], dict(recorded["before"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SystemFault(f"cannot read {self._file} ({_what(error)}): the interface's ARP settings stay as they are") from error

    def _record(self, held: Held) -> None:
        """Write the file as a whole or not at all."""
        files.replace(self._file, json.dumps({"vips": [*map(str, held.vips)], "interface": held.interface, "before": held.before}))

    def _holds(self, vips: Sequence[IPAddress], interface: str) -> bool:
        """Tell whether all of it is in place already: an interface that was made anew has lost its settings."""
        held = self.held()
        if held is None or (held.vips, held.interface) != (tuple(vips), interface):
            return False
        return self._is_set(interface, held.before) and all(self._netlink.has_address(_LO, vip) for vip in vips)

    def _is_set(self, interface: str, names: Iterable[str]) -> bool:
        try:
            return all(int((self._settings / interface / name).read_text()) >= WANTED[name] for name in names)
        except (OSError, ValueError, KeyError):
            return False

    def _write(self, interface: str, name: str, value: int) -> None:
        (self._settings / interface / name).write_text(f"{value}\n")


def _what(error: Exception) -> str:
    if isinstance(error, (OSError, SystemFault, json.JSONDecodeError)):
        return what_happened(error)
    return "it does not hold what is expected of it"
