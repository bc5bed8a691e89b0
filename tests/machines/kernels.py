"""Play what depends on the kernel under those of other Debian suites: `make kernels`.

python -m machines.kernels [KERNEL...] [--share all|short] [--guests N]. Writes build/kernels/result.json, which keeps what it has of other
kernels, and the table in docs/compatibility.md when all of them were played whole.
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
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from lab.fabric.cluster import compiled_package
from lab.fabric.namespace import missing as lab_lacks

from . import compatibility
from .guest import Guest
from .hypervisor import GuestError, missing
from .kernel import Kernel
from .result import Played, areas, table
from .suites import Suite, SuiteError

KERNELS = ("bullseye", "bookworm", "trixie")  # oldest first
OUT = Path("build/kernels")
LIMIT = 3600.0  # seconds of ours that a guest may play
PYTEST = ("-m", "pytest", "tests/lab", "-m", "kernel and not thorough", "-p", "no:cacheprovider")
IN_GUEST = ("-p", "machines.share", "--verbose", "--tb=short")


@dataclass(frozen=True)
class Part:
    """What one guest plays: the ``number``th of every ``of`` tests."""

    kernel: Kernel
    number: int
    of: int
    share: str

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
    """Play a part in a guest of its own."""
    began = time.monotonic()
    (part.out / "results").unlink(missing_ok=True)
    error, last_line, guest_seconds = "", "", 0.0
    try:
        with Guest(part.kernel, part.out) as guest:
            done = guest.run([sys.executable, *PYTEST, *IN_GUEST], seconds=LIMIT, env=part.environment, name="pytest")
            guest_seconds = guest.boot_seconds + done.seconds
            last_line = (done.output.strip().splitlines() or ["pytest said nothing"])[-1]
            guest.power_off()
            if done.exit_code not in (0, 1):  # 1: tests have failed, which they tell themselves
                error = f"pytest ended with {done.exit_code}: {part.out / 'pytest/output'}"
    except (GuestError, TimeoutError) as failure:
        error = str(failure)
    return Ran(part, error, last_line, time.monotonic() - began, guest_seconds)


def together(kernel: Kernel, ran: Sequence[Ran]) -> Played:
    """Return what all guests of a kernel told."""
    files = [each.part.out / "results" for each in ran]
    return Played(
        kernel.suite,
        kernel.package,
        kernel.version,
        kernel.release,
        areas([line for file in files if file.exists() for line in file.read_text().splitlines()]),
        [f"guest {each.part.number}: {each.error}" for each in ran if each.error],
        sum(each.seconds for each in ran),
        sum(each.guest_seconds for each in ran),
        date.today().isoformat(),
    )


def prepare() -> None:
    """Have tests and packages compiled here, where it is quick: the guests find it done. Raises CalledProcessError."""
    compiling = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *PYTEST, "--collect-only", "--quiet"], env=compiling, check=True, stdout=subprocess.DEVNULL)
    with compiled_package():
        pass


def earlier(file: Path, share: str) -> list[Played]:
    """Return what an earlier run told of the same share: the kernels need not be played in one go. Nothing if none did."""
    try:
        told = json.loads(file.read_text())
        return [Played.from_json(each) for each in told["kernels"]] if told["share"] == share else []
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def main(names: Sequence[str], share: str, guests: int) -> int:
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
    prepare()
    parts = [Part(kernel, number, guests, share) for kernel in kernels for number in range(1, guests + 1)]
    ran: dict[Part, Ran] = {}
    with ThreadPoolExecutor(guests) as pool:
        for future in as_completed([pool.submit(play, part) for part in parts]):
            one = future.result()
            ran[one.part] = one
            print(f"{one.part.kernel.release}, guest {one.part.number} of {guests}: {one.last_line}", flush=True)
    played = [together(kernel, [ran[part] for part in parts if part.kernel is kernel]) for kernel in kernels]
    for each in played:
        print(each.summary())
    known = [each for each in earlier(OUT / "result.json", share) if each.suite not in names]
    known = sorted([*known, *played], key=lambda each: KERNELS.index(each.suite))
    told = {"share": share, "kernels": [each.as_json() for each in known]}
    (OUT / "result.json").write_text(json.dumps(told, indent=1) + "\n")
    if share == "all" and len(known) == len(KERNELS) and all(each.whole for each in known):
        compatibility.write("kernels", *table(known), ran=date.today())
    return 0 if all(each.good for each in played) else 1


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kernels", description="Play under other kernels what depends on the kernel.")
    parser.add_argument("kernels", nargs="*", choices=[[], *KERNELS], metavar="KERNEL", help=f"one of {', '.join(KERNELS)}: all")
    parser.add_argument("--share", choices=("all", "short"), default="all", help="short: what CI has time for")
    parser.add_argument("--guests", type=int, default=len(os.sched_getaffinity(0)), help="how many side by side: as many as processors")
    return parser.parse_args(words)


if __name__ == "__main__":
    asked = arguments(sys.argv[1:])
    sys.exit(main(asked.kernels or KERNELS, asked.share, asked.guests))
