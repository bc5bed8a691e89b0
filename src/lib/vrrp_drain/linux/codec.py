"""pyroute2's message classes without the rest of it.

``import pyroute2`` runs what its ``__init__`` imports: 300 modules, among them asyncio, multiprocessing and sqlite3, for sockets that
we do not use (netlink.py has its own). That is half of the time that a drain needs to start, and a third of the memory of the watcher. A
module for which there is a supported way to have the message classes alone does not exist: ``pyroute2.minimal`` is inside the package.

So the modules are imported below a package of that name that has a path and nothing in it, and beside a ``nlsocket`` that has the names
of its classes alone; then all of them are taken out of ``sys.modules``: whoever imports pyroute2 in this process gets a whole one.
A version of pyroute2 for which that does not do is imported as it wants to be.
"""

import importlib
import importlib.util
import sys
from types import ModuleType

_PACKAGE = "pyroute2"
_SOCKETS = f"{_PACKAGE}.netlink.nlsocket"  # brings asyncio; nftsocket derives sockets from two of its classes, beside its messages
_SOCKET_CLASSES = ("AsyncNetlinkSocket", "NetlinkSocket")
_kept: dict[str, ModuleType] = {}  # so that what two of our modules need is loaded once


def load(name: str) -> ModuleType:
    """Return pyroute2's module ``name``, such as netlink.rtnl.rtmsg. Raises ImportError."""
    if _PACKAGE in sys.modules:  # somebody has had all of it imported already
        return importlib.import_module(f"{_PACKAGE}.{name}")
    try:
        return _lean(f"{_PACKAGE}.{name}")
    except Exception:  # whatever another version does there
        _kept.clear()
        return importlib.import_module(f"{_PACKAGE}.{name}")


def _lean(name: str) -> ModuleType:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
    sys.modules.update(_kept or {_PACKAGE: importlib.util.module_from_spec(spec), _SOCKETS: _without_sockets()})
    try:
        return importlib.import_module(name)
    finally:
        _kept.update({each: module for each, module in sys.modules.items() if each.partition(".")[0] == _PACKAGE})
        for each in _kept:
            del sys.modules[each]


def _without_sockets() -> ModuleType:
    hollow = ModuleType(_SOCKETS)
    for each in _SOCKET_CLASSES:
        setattr(hollow, each, type(each, (), {}))
    return hollow
