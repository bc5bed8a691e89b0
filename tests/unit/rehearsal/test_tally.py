"""Probes, counted."""

from vrrp_drain.rehearsal.tally import Outcome, Probe, Tally, tally

OK, REFUSED, LOST = Outcome.ANSWERED, Outcome.REFUSED, Outcome.LOST


def probes(*outcomes: Outcome, seconds: float = 0.001) -> list[Probe]:
    """Return a probe for each outcome, one every second."""
    return [Probe(float(at), "mac", outcome, 1.0 if outcome is LOST else seconds) for at, outcome in enumerate(outcomes)]


def test_nothing_failed() -> None:
    """There is no gap; the longest pause is the time between two probes."""
    found = tally(probes(OK, OK, OK), 0.0, 10.0)
    assert found == Tally(probes=3, refused=0, lost=0, slow=0, slowest=0.001, longest_gap=0.0, longest_pause=1.0)
    assert not found.felt


def test_failures_make_gaps() -> None:
    """A gap is from the first probe that failed to the next one that did not; the longest counts. The time to fail is not slowness."""
    found = tally(probes(OK, LOST, OK, REFUSED, LOST, REFUSED, OK), 0.0, 10.0)
    assert (found.refused, found.lost, found.failed, found.longest_gap, found.slowest) == (2, 2, 4, 3.0, 0.001)
    assert found.felt


def test_probes_are_noted_out_of_order() -> None:
    """A lost one is known later than those that were sent after it."""
    assert tally([*reversed(probes(OK, LOST, LOST, OK))], 0.0, 10.0).longest_gap == 2.0


def test_a_gap_without_an_end() -> None:
    """It lasts until the last one was given up."""
    assert tally(probes(OK, LOST, LOST), 0.0, 10.0).longest_gap == 2.0


def test_a_part() -> None:
    """What was sent before or after does not count; a gap counts where it begins, whole."""
    everything = probes(OK, LOST, LOST, LOST, OK, OK)
    first, second = tally(everything, 0.0, 2.0), tally(everything, 2.0, 10.0)
    assert (first.probes, first.lost, first.longest_gap) == (2, 1, 3.0)
    assert (second.probes, second.lost, second.longest_gap) == (4, 2, 0.0)


def test_slow_ones_are_felt() -> None:
    """More than 0.1 s."""
    assert not tally(probes(OK, seconds=0.1), 0.0, 10.0).felt
    found = tally(probes(OK, seconds=0.101), 0.0, 10.0)
    assert (found.slow, found.felt, found.failed) == (1, True, 0)


def test_no_probes() -> None:
    """Nothing to count is no crash."""
    assert tally([], 0.0, 1.0) == Tally(0, 0, 0, 0, 0.0, 0.0, 0.0)
