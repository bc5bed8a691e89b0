"""What is told of findings, whatever the facts are."""

from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vrrp_drain import doctor
from vrrp_drain.doctor import Found, Severity

KINDS = sorted(Found.__subclasses__(), key=lambda kind: kind.__name__)
VALUES: dict[object, st.SearchStrategy[object]] = {
    Path: st.just(Path("/var/vcap/sys/log/keepalived.log")),
    int: st.integers(0, 255),  # priorities, settings, families
    float: st.floats(0, 1e6),
    float | None: st.none() | st.floats(1, 2e9),  # when a file was written
}


def built(kind: type[Found]) -> st.SearchStrategy[Found]:
    """Return findings of a kind with facts as they may be."""
    return st.builds(kind, **{name: VALUES[hint] for name, hint in get_type_hints(kind).items() if hint in VALUES})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=20)
def test_every_finding_can_be_told(kind: type[Found], data: st.DataObject) -> None:
    """It has a severity, says what it is, and what is wrong says what that means and how it is mended."""
    told = data.draw(built(kind)).told()
    assert told.severity is not Severity.OK
    assert told.check == ""
    if told.severity in (Severity.PROBLEM, Severity.WARNING):
        assert told.means
        assert told.mend


def test_no_two_findings_are_one() -> None:
    """The kinds are those of the three modules of findings, and the one of a check that could not be made."""
    rooms = {kind.__module__.removeprefix(f"{doctor.__name__}.") for kind in KINDS}
    assert rooms == {"finding", "machine_findings", "moves_findings", "segment_findings"}
    assert len({kind.__name__ for kind in KINDS}) == len(KINDS)
