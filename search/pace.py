"""How fast trials are on this device, as it was measured before a search; seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """Seconds: the least, what is likely, the most."""

    least: float
    likely: float
    most: float

    @classmethod
    def of(cls, seconds: float) -> "Span":
        """What is known to be so long."""
        return cls(seconds, seconds, seconds)

    def __add__(self, other: "Span") -> "Span":
        return Span(self.least + other.least, self.likely + other.likely, self.most + other.most)

    def at_most(self, seconds: float) -> "Span":
        return Span(*(min(value, seconds) for value in (self.least, self.likely, self.most)))


@dataclass(frozen=True)
class Pace:
    """What the parts of a search take, with as many trials beside each other as it runs."""

    epoch: Span
    """Of one trial, validation included; from the fastest settings of the space to the slowest."""
    process: float
    """Until a new process is there, with all that it imports."""
    start: float
    """From one trial to the next in a process: network, data and kernels are made ready."""
    prepare: float
    """Before the first trial: the data are drawn and packed, as far as they are not."""
    pack_bytes: int
    """Of the disk, that packing takes; 0 where nothing is to be packed."""
