"""pyroute2's messages without the rest of it, in a Python of their own each: it is about what is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import vrrp_drain

LIBRARY = Path(vrrp_drain.__file__).parent.parent
NAMES = "'netlink.rtnl.ifaddrmsg', 'netlink.nfnetlink.nftsocket'"
TOLD = "json.dumps([hasattr(ours[0], 'ifaddrmsg'), 'asyncio' in sys.modules, any('pyroute2' in each for each in sys.modules)])"


def python(code: str, *paths: Path) -> list[bool]:
    """Return what ``code`` prints of its own: whether it has the class, and whether asyncio and pyroute2 are among the modules."""
    first = f"import json, sys; sys.path[:0] = {[*map(str, paths), str(LIBRARY)]}; from vrrp_drain.linux.codec import load\n"
    done = subprocess.run([sys.executable, "-c", f"{first}{code}\nprint({TOLD})"], capture_output=True, text=True, check=True, timeout=60)
    found: list[bool] = json.loads(done.stdout)
    return found


def test_messages_alone() -> None:
    """Neither asyncio nor the package itself is imported, and nothing of pyroute2 is left where others would find half of it."""
    assert python(f"ours = [load(each) for each in ({NAMES})]") == [True, False, False]


def test_who_wants_pyroute2_gets_all_of_it() -> None:
    """Before us or after us: it has its sockets, and what it has imported itself we take."""
    whole = "import pyroute2; assert issubclass(pyroute2.NFTSocket, pyroute2.netlink.nlsocket.NetlinkSocket)"
    assert python(f"ours = [load(each) for each in ({NAMES})]; {whole}") == [True, True, True]
    same = "assert sys.modules['pyroute2.netlink.rtnl.ifaddrmsg'] is ours[0]"
    assert python(f"{whole}; ours = [load(each) for each in ({NAMES})]; {same}") == [True, True, True]


def test_a_module_is_loaded_once() -> None:
    """What two of ours need is the same for both."""
    again = "assert load('netlink.rtnl.ifaddrmsg') is ours[0]; assert ours[1].nfgen_msg is load('netlink.nfnetlink').nfgen_msg"
    assert python(f"ours = [load(each) for each in ({NAMES})]; {again}") == [True, False, False]


@pytest.mark.parametrize("wants", ["from pyroute2 import settings", "from pyroute2.netlink.nlsocket import AnotherSocket"])
def test_a_version_that_is_built_otherwise(tmp_path: Path, wants: str) -> None:
    """One that needs what its ``__init__`` does, or more of its sockets, is imported as it wants to be."""
    (tmp_path / "pyroute2/netlink/rtnl").mkdir(parents=True)
    for path, text in {
        "__init__": "settings = 1",
        "netlink/__init__": "",
        "netlink/nlsocket": "AnotherSocket = 1",
        "netlink/rtnl/__init__": "",
        "netlink/rtnl/ifaddrmsg": f"{wants}\nifaddrmsg = 1",
    }.items():
        (tmp_path / f"pyroute2/{path}.py").write_text(f"{text}\n")
    assert python("ours = [load('netlink.rtnl.ifaddrmsg')]", tmp_path) == [True, False, True]
