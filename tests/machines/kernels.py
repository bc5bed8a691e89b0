"""Play what depends on the kernel under those of other Debian suites: `make kernels`.

python -m machines.kernels [KERNEL...] [--share all|short] [--failed] [--guests N]. Writes build/kernels/result.json, which keeps
what it has of other kernels, and the table in docs/compatibility.md when all of them were played whole.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from again import LIMIT as FEW
from lab.fabric.cluster import compiled_package
from lab.fabric.namespace import missing as lab_lacks

from . import compatibility
from .guest import Done, Guest
from .hypervisor import GuestError, missing
from .kernel import Kernel
from .result import Played, areas, table
from .suites import Suite, SuiteError

KERNELS = ("bullseye", "bookworm", "trixie")  # oldest first
OUT = Path("build/kernels")
LIMIT = 3600.0  # seconds of ours that a guest may play
EVERYTHING: tuple[str, ...] = ("tests/lab",)
PYTEST = ("-m", "pytest", "-m", "kernel and not thorough", "-p", "no:cacheprovider")
IN_GUEST = ("-p", "machines.share", "--verbose", "--tb=short")


@dataclass(frozen=True)
class Part:
    """What one guest plays: the ``number``th of every ``of`` tests."""

    kernel: Kernel
    number: int
    of: int
    share: str
    tests: tuple[str, ...] = EVERYTHING

    @property
    def out(self) -> Path:
        return OUT / self.kernel.suite / str(self.number)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "CI": "true",
            "PYTHONPATH": "lib:tests",
            "MPLBACKEND": "Agg",
            "KERNEL_SHARE": self.share,
            "KERNEL_PART": f"{self.number}/{self.of}",
            "KERNEL_RESULTS": "/out/results",
        }


@dataclass(frozen=True)
class Ran:
    """How a part ended: an error, or pytest's last line; seconds of our clock, and of the guest's."""

    part: Part
    error: str
    last_line: str
    seconds: float
    guest_seconds: float


def play(part: Part) -> Ran:
    """Play a part in a guest of its own; a few that have failed get a second try there."""
    began = time.monotonic()
    results = part.out / "results"
    results.unlink(missing_ok=True)
    error, ran = "", []
    try:
        with Guest(part.kernel, part.out) as guest:
            ran.append(pytest_in(guest, part, "pytest"))
            failed = [test for area in areas(told(results)).values() for test in area.failed]
            if 0 < len(failed) <= FEW:
                ran.append(pytest_in(guest, replace(part, number=1, of=1, tests=tuple(failed)), "again"))
            seconds = guest.boot_seconds + sum(each.seconds for each in ran)
            guest.power_off()
    except (GuestError, TimeoutError) as failure:
        error, seconds = str(failure), sum(each.seconds for each in ran)
    last_lines = [(each.output.strip().splitlines() or ["pytest said nothing"])[-1] for each in ran]
    return Ran(part, error, ", again: ".join(last_lines), time.monotonic() - began, seconds)


def pytest_in(guest: Guest, part: Part, name: str) -> Done:
    """Play ``part`` in a guest. Raises GuestError if pytest ends with more than that tests have failed, which they tell themselves."""
    done = guest.run([sys.executable, *PYTEST, *IN_GUEST, *part.tests], seconds=LIMIT, env=part.environment, name=name)
    if done.exit_code not in (0, 1):
        raise GuestError(f"pytest ended with {done.exit_code}: {guest.out / name / 'output'}")
    return done


def told(results: Path) -> list[str]:
    """Return what the tests have told, a line each time; nothing if none has begun."""
    return results.read_text().splitlines() if results.exists() else []


def together(kernel: Kernel, ran: Sequence[Ran]) -> Played:
    """Return what all guests of a kernel told."""
    files = [each.part.out / "results" for each in ran]
    return Played(
        kernel.suite,
        kernel.package,
        kernel.version,
        kernel.release,
        areas([line for file in files for line in told(file)]),
        [f"guest {each.part.number}: {each.error}" for each in ran if each.error],
        sum(each.seconds for each in ran),
        sum(each.guest_seconds for each in ran),
        date.today().isoformat(),
    )


def prepare() -> None:
    """Have tests and packages compiled here, where it is quick: the guests find it done. Raises CalledProcessError."""
    compiling = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(
        [sys.executable, *PYTEST, *EVERYTHING, "--collect-only", "--quiet"], env=compiling, check=True, stdout=subprocess.DEVNULL
    )
    with compiled_package():
        pass


def earlier(file: Path, share: str) -> list[Played]:
    """Return what an earlier run told of the same share: the kernels need not be played in one go. Nothing if none did."""
    try:
        told = json.loads(file.read_text())
        return [Played.from_json(each) for each in told["kernels"]] if told["share"] == share else []
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def main(names: Sequence[str], share: str, guests: int, *, failed: bool = False) -> int:
    # Whatever ends this process ends its guests: there is nothing to tidy up, and no thread to wait for.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if lack := missing() or lab_lacks():
        print(lack, file=sys.stderr)
        return 1
    try:
        kernels = [Kernel.of(Suite(name)) for name in names]
    except SuiteError as error:
        print(error, file=sys.stderr)
        return 1
    known = {each.suite: each for each in earlier(OUT / "result.json", share)}
    tests = dict.fromkeys(kernels, EVERYTHING)
    if failed:
        tests = {each: tuple(known[each.suite].failed) for each in kernels if each.suite in known and known[each.suite].failed}
        if not tests:
            print(f"{OUT / 'result.json'} tells of no test of the share {share} that has failed: there is nothing to play again.")
            return 0
    prepare()
    parts = [
        Part(kernel, number, of, share, some)
        for kernel, some in tests.items()
        for of in (min(guests, len(some)) if failed else guests,)  # a guest without a test would have failed
        for number in range(1, of + 1)
    ]
    ran: dict[Part, Ran] = {}
    with ThreadPoolExecutor(guests) as pool:
        for future in as_completed([pool.submit(play, part) for part in parts]):
            one = future.result()
            ran[one.part] = one
            print(f"{one.part.kernel.release}, guest {one.part.number} of {guests}: {one.last_line}", flush=True)
    played = [together(kernel, [ran[part] for part in parts if part.kernel is kernel]) for kernel in tests]
    if failed:
        played = [known[each.suite].corrected(each) for each in played]
    for each in played:
        print(each.summary())
    known |= {each.suite: each for each in played}
    all_known = [known[suite] for suite in KERNELS if suite in known]
    document = {"share": share, "kernels": [each.as_json() for each in all_known]}
    (OUT / "result.json").write_text(json.dumps(document, indent=1) + "\n")
    if share == "all" and len(all_known) == len(KERNELS) and all(each.whole for each in all_known):
        compatibility.write("kernels", *table(all_known), ran=date.today())
    return 0 if all(each.good for each in played) else 1


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kernels", description="Play under other kernels what depends on the kernel.")
    parser.add_argument("kernels", nargs="*", choices=[[], *KERNELS], metavar="KERNEL", help=f"one of {', '.join(KERNELS)}: all")
    parser.add_argument("--share", choices=("all", "short"), default="all", help="short: what CI has time for")
    parser.add_argument(
        "--failed", action="store_true", help=f"only what has failed, as {OUT / 'result.json'} has it; the rest of it stays"
    )
    parser.add_argument("--guests", type=int, default=len(os.sched_getaffinity(0)), help="how many side by side: as many as processors")
    return parser.parse_args(words)


if __name__ == "__main__":
    asked = arguments(sys.argv[1:])
    sys.exit(main(asked.kernels or KERNELS, asked.share, asked.guests, failed=asked.failed))
