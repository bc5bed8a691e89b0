"""The VIPs on lo as well, so that a move overlaps.

keepalived's new MASTER adverts before it has the VIP, and the old one gives the VIP up at that advert. In the
millisecond until clients have learnt the new MAC, their packets still reach the old one: with the VIP on lo it takes
them, without it a SYN is lost and sent again a second later. No interface must answer ARP for an address of lo, nor
name it as the sender (arp_ignore, arp_announce in the kernel's networking/ip-sysctl): the classic set-up of direct server
return. Nor must a further interface in the same segment answer for the VIP of the first, which is Linux' habit. So it is
said of all interfaces: of each the higher of its own number and that of ``all`` counts, also of one that is plugged in
later. The VIP's interface is told itself as well, for the day on which somebody sets ``all`` back. IPv6 needs none of
this: it answers neighbour solicitations, and names itself in its own, only with addresses of the interface in question.

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
ALL = "all"
_WANTED = {"arp_ignore": 1, "arp_announce": 2}  # what is written where nothing as strict stands
_QUIET = {"arp_ignore": {1, 2, 8}, "arp_announce": {2}}  # 4 to 7, and 3 and more, are reserved: they count as 0
_NOT_FOR_LO = {"arp_ignore": {3}}  # no answer for addresses of scope host, as ours on lo are; but for those of other interfaces

Settings = Mapping[str, Mapping[str, int]]  # by the interface, and by their names


def is_quiet(name: str, value: int, *, has_vip: bool) -> bool:
    """Tell whether with this ``value`` of a setting an interface keeps quiet about VIPs that it has not; ``has_vip``: it may have them."""
    return value in _QUIET[name] or (has_vip and value in _NOT_FOR_LO.get(name, ()))


def loud(conf: Path, vip_interface: str) -> dict[str, dict[str, int]]:
    """Return the interfaces below ``conf`` that answer for VIPs that they have not, or name them, with the settings that say so."""
    found = {}
    for interface in sorted(each.name for each in conf.iterdir()):
        if interface in (ALL, "default", _LO):
            continue
        values = {name: max(_value(conf, ALL, name), _value(conf, interface, name)) for name in _WANTED}
        if wrong := {name: value for name, value in values.items() if not is_quiet(name, value, has_vip=interface == vip_interface)}:
            found[interface] = wrong
    return found


def _value(conf: Path, interface: str, name: str) -> int:
    """Return a setting, 0 where the interface has just gone."""
    try:
        return int((conf / interface / name).read_text())
    except (OSError, ValueError):
        return 0


@dataclass(frozen=True)
class Held:
    """What ``hold`` did: which VIPs it put on lo, and the ARP settings that it found, of ``interface`` and of ``ALL``."""

    vips: tuple[IPAddress, ...]
    interface: str
    before: Settings


class VipOnLo:
    """Holds the VIPs on lo between pre-start and post-stop. Both are idempotent, and mend what a crash left half done."""

    def __init__(self, run_directory: Path, netlink: Netlink, interface_settings: Path) -> None:
        self._file = run_directory / "overlap.json"
        self._netlink = netlink
        self._settings = interface_settings

    def hold(self, vips: Sequence[IPAddress], interface: str) -> None:
        """Put ``vips`` on lo, once no interface answers for them there; ``interface`` is theirs.

        Raises SystemFault; nothing is left changed then.
        """
        if self._holds(vips, interface):
            return
        self.release()
        ours = [vip for vip in vips if not self._netlink.has_address(_LO, vip)]  # what somebody else put there stays theirs
        if not ours:
            return
        try:
            is_arp = any(vip.version == 4 for vip in ours)
            before = {where: {name: self._read(where, name) for name in _WANTED} for where in (interface, ALL)} if is_arp else {}
            self._record(Held(tuple(ours), interface, before))
            for where, values in before.items():
                for name, value in values.items():
                    self._write(where, name, _stricter(name, value))
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
        for where, values in held.before.items():
            if (self._settings / where).exists():
                for name, value in values.items():
                    yield partial(self._put_back, where, name, value)

    def _put_back(self, where: str, name: str, before: int) -> None:
        """Write what was there, unless somebody has said something else since that is as strict as what we said."""
        now = self._read(where, name)
        if now == _stricter(name, before) or now not in _QUIET[name]:
            self._write(where, name, before)

    def held(self) -> Held | None:
        """Return what the last ``hold`` did that was not released, or was about to do when it was killed. Raises SystemFault."""
        try:
            recorded = json.loads(files.read(self._file))
            vips = tuple(ipaddress.ip_address(each) for each in recorded["vips"])
            interface = recorded["interface"]
            found = {interface: dict(recorded["before"]), ALL: dict(recorded.get("all", {}))}  # releases before this one set no ``all``
            return Held(vips, interface, {where: values for where, values in found.items() if values})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SystemFault(f"cannot read {self._file} ({_what(error)}): the interface's ARP settings stay as they are") from error

    def lacks(self) -> list[str]:
        """Return what is missing of that which ``hold`` put in place, in words; nothing where it is not held. Raises SystemFault."""
        held = self.held()
        if held is None:
            return []
        found = [f"{vip} on {_LO}" for vip in held.vips if not self._netlink.has_address(_LO, vip)]
        settings = ((where, name, value) for where, values in held.before.items() for name, value in values.items())
        return found + [f"{name} of {where}" for where, name, value in settings if not self._is_set({where: {name: value}})]

    def _record(self, held: Held) -> None:
        """Write the file as a whole or not at all."""
        before, for_all = (held.before.get(where, {}) for where in (held.interface, ALL))
        record = {"vips": [*map(str, held.vips)], "interface": held.interface, "before": before, "all": for_all}
        files.replace(self._file, json.dumps(record))

    def _holds(self, vips: Sequence[IPAddress], interface: str) -> bool:
        """Tell whether all of it is in place already: an interface that was made anew has lost its settings."""
        held = self.held()
        if held is None or (held.vips, held.interface) != (tuple(vips), interface):
            return False
        is_complete = not held.before or ALL in held.before
        return is_complete and self._is_set(held.before) and all(self._netlink.has_address(_LO, vip) for vip in vips)

    def _is_set(self, before: Settings) -> bool:
        try:
            return all(is_quiet(name, self._read(where, name), has_vip=where != ALL) for where, values in before.items() for name in values)
        except (OSError, ValueError, KeyError):
            return False

    def _read(self, where: str, name: str) -> int:
        return int((self._settings / where / name).read_text())

    def _write(self, where: str, name: str, value: int) -> None:
        (self._settings / where / name).write_text(f"{value}\n")


def _stricter(name: str, value: int) -> int:
    """Return what is written where ``value`` stands: nothing weaker than that."""
    return value if is_quiet(name, value, has_vip=True) else _WANTED[name]


def _what(error: Exception) -> str:
    if isinstance(error, (OSError, SystemFault, json.JSONDecodeError)):
        return what_happened(error)
    return "it does not hold what is expected of it"
