"""An enum whose values are what JSON, metrics and files have: enum.StrEnum, which Python 3.10 lacks."""

from enum import Enum


class StrEnum(str, Enum):
    """A member is its value wherever text is made of it; in code it is compared as a member, and no spelling is repeated."""

    def __str__(self) -> str:
        return str(self.value)
