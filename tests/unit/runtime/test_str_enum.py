"""An enum whose members are their values: the same in every text, whichever Python makes it."""

import json

from vrrp_drain.runtime.str_enum import StrEnum


class Fruit(StrEnum):
    APPLE = "apple"


def test_a_member_is_its_value_in_every_text() -> None:
    """Formats, JSON and str agree; without its own ``__str__`` a str that is an enum is formatted as another thing from 3.12 on."""
    texts = [str(Fruit.APPLE), f"{Fruit.APPLE}", f"{Fruit.APPLE:>5}", " ".join([Fruit.APPLE]), json.loads(json.dumps(Fruit.APPLE))]
    assert texts == ["apple"] * len(texts)


def test_a_member_is_found_by_its_value() -> None:
    """What was read from a file is compared and looked up as it is."""
    read: str = json.loads('"apple"')
    assert Fruit(read) is Fruit.APPLE
    assert read == Fruit.APPLE
    assert read in {Fruit.APPLE: 1}
