"""What guests told of a kernel's share, as result.json and the table of docs/compatibility.md have it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass
class Area:
    """What was played of one area. Each test is in one of the lists, by its id; ``missing`` and ``failed`` say why.

    Those in ``again`` have passed as well, at a second try.
    """

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Return the cell of the table."""
        played, again = len(self.passed) + len(self.failed), len(self.again)
        lacks = [f"{len([why for why in self.missing.values() if why == each])} {each}" for each in dict.fromkeys(self.missing.values())]
        counted = f"{len(self.passed)} of {played}" + (f" ({again} when played again)" if again else "")
        return "; ".join(([counted] if played else []) + [f"not possible: {each}" for each in lacks])

    def corrected(self, second: "Area") -> "Area":
        """Return it with what a second try told of tests that had failed."""
        failed = {test: second.failed.get(test, why) for test, why in self.failed.items() if test not in second.passed}
        return Area(self.passed + second.passed, failed, self.missing, self.again + second.passed)


@dataclass(frozen=True)
class Played:
    """A kernel's share, as it was played in one guest or several."""

    suite: str
    package: str
    version: str
    release: str
    areas: Mapping[str, Area]
    errors: Sequence[str]  # of guests that did not play to the end
    seconds: float  # of our clock, all guests' together
    guest_seconds: float  # of theirs
    day: str  # on which it was played

    @property
    def whole(self) -> bool:
        """Tell whether every guest played to the end, and there was something to play."""
        return not self.errors and any(area.passed or area.failed for area in self.areas.values())

    @property
    def failed(self) -> list[str]:
        """Return the ids of the tests that have."""
        return [test for area in self.areas.values() for test in area.failed]

    @property
    def good(self) -> bool:
        """Tell whether it was whole, and nothing has failed."""
        return self.whole and not self.failed

    def corrected(self, second: "Played") -> "Played":
        """Return it with what ``second`` told, for which all that had failed was played again; so were tests of guests that had died."""
        found = {name: area.corrected(second.areas.get(name, Area())) for name, area in self.areas.items()}
        return replace(second, areas=found, seconds=self.seconds + second.seconds, guest_seconds=self.guest_seconds + second.guest_seconds)

    def summary(self) -> str:
        """Return one line for people."""
        count = {name: sum(len(getattr(area, name)) for area in self.areas.values()) for name in ("passed", "failed", "missing", "again")}
        lacks = sorted({why for area in self.areas.values() for why in area.missing.values()})
        not_possible = f"{count['missing']} not possible ({'; '.join(lacks)})" if lacks else "none was impossible"
        return (
            f"{self.suite}, {self.release}: {count['passed']} passed, {count['failed']} failed, {not_possible}"
            + (f", {count['again']} passed when played again" if count["again"] else "")
            + f", in {self.seconds / 60:.0f} minutes ({self.guest_seconds / 60:.0f} by the guests' clocks)"
            + "".join(f"\n  failed: {test}: {why}" for area in self.areas.values() for test, why in area.failed.items())
            + "".join(f"\n  {error}" for error in self.errors)
        )

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "good": self.good}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Played":
        """Return what ``as_json`` was made of. Raises KeyError or TypeError for what another version wrote."""
        fields = {name: told[name] for name in cls.__dataclass_fields__}
        return cls(**{**fields, "areas": {name: Area(**area) for name, area in told["areas"].items()}})


def areas(told: Iterable[str]) -> dict[str, Area]:
    """Return what the lines of JSON say that the plugin `share` wrote. What was planned and did not end has failed.

    What was planned twice was played a second time, and that counts.
    """
    found: dict[str, Area] = {}
    planned: dict[str, str] = {}
    failed: dict[str, str] = {}
    ended: dict[str, str] = {}
    again: set[str] = set()
    for line in told:
        each = json.loads(line)
        area = found.setdefault(each["area"], Area())
        if each["outcome"] == "missing":
            area.missing[each["test"]] = each["why"]
        elif each["outcome"] == "planned":
            if each["test"] in planned:
                again.add(each["test"])
                failed.pop(each["test"], None)
                ended.pop(each["test"], None)
            planned[each["test"]] = each["area"]
        else:
            if each["outcome"] != "passed":
                failed.setdefault(each["test"], f"{each['at']}: {each['why']}")
            if each["at"] == "teardown":
                ended[each["test"]] = each["area"]
    for test, name in planned.items():
        if test in failed or test not in ended:
            found[name].failed[test] = failed.get(test, "it did not end")
        else:
            found[name].passed.append(test)
            if test in again:
                found[name].again.append(test)
    return found


def table(kernels: Sequence[Played]) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows: an area a row, a kernel a column."""
    names = sorted({name for kernel in kernels for name in kernel.areas})
    columns = ["", *(f"{kernel.suite}, {kernel.release}" for kernel in kernels)]
    rows = [["package", *(kernel.version for kernel in kernels)], ["played on", *(kernel.day for kernel in kernels)]]
    rows += [[name, *(kernel.areas[name].text if name in kernel.areas else "" for kernel in kernels)] for name in names]
    return columns, rows
