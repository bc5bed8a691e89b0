"""Play tests side by side, and once more by themselves the few that failed there: python -m again ARGUMENTS_OF_PYTEST.

The lab's clocks are real: where seven groups of machines share two cores, an advert or a client may come late without anybody's
fault. What fails by itself too has failed, and so has everything if more than LIMIT tests fail. What passed at the second try is
told at the end, so that nobody takes it for one that always passes.
"""

import subprocess
import sys
from collections.abc import Sequence

import pytest

LIMIT = 3  # more than these are no accident


class Failures:
    """A plugin of pytest's that notes which tests have failed, in whatever phase and in whichever worker."""

    def __init__(self) -> None:
        self.tests: dict[str, None] = {}  # in their order, each once

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.tests[report.nodeid] = None


def main(arguments: Sequence[str]) -> int:
    """Return pytest's exit code: of the first run, or of the second if there was one."""
    noted = Failures()
    code = int(pytest.main([*arguments], plugins=[noted]))
    failed = list(noted.tests)
    if code != pytest.ExitCode.TESTS_FAILED or not 0 < len(failed) <= LIMIT:
        return code
    print(f"\nThese failed beside others, and are played once more by themselves: {', '.join(failed)}\n", flush=True)
    second = subprocess.run([sys.executable, "-m", "pytest", *failed], check=False).returncode
    if second == pytest.ExitCode.OK:
        print(f"\nPassed at the second try, by themselves: {', '.join(failed)}. What the first said is above.", flush=True)
    return second


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
