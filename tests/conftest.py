"""What all tests have: their markers, and that in CI nothing may be skipped: a skipped test there is a failed one."""

import os

import pytest

LONG = "long: one of those that take longest; begins before the others, so that none is left alone at the end"
THOROUGH = "thorough: a long story, or a further setting of what is claimed beside it: left out by `make test`, played by `make thorough`"
_skipped: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    for each in (LONG, THOROUGH):
        config.addinivalue_line("markers", each)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and os.environ.get("CI"):
        _skipped.append(f"{report.nodeid}: {report.longrepr}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for each in _skipped:
        terminalreporter.write_line(f"CI must not skip: {each}", red=True)
