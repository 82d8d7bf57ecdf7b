"""How fast trials are on this device, as it is measured before a search; all in seconds."""

from dataclasses import dataclass

from kptrain.machine.progress import in_words


class MeasuringError(Exception):
    """It cannot be measured; the message says why."""


@dataclass(frozen=True)
class Seconds:
    """Of something: the least, what is likely, and the most."""

    least: float
    likely: float
    most: float

    @classmethod
    def of(cls, seconds: float) -> "Seconds":
        """What is known to be so long."""
        return cls(seconds, seconds, seconds)

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.least + other.least, self.likely + other.likely, self.most + other.most)

    def less(self, seconds: float) -> "Seconds":
        """What remains of it after so many."""
        return Seconds(
            *(max(value - seconds, 0.0) for value in (self.least, self.likely, self.most))
        )

    def __str__(self) -> str:
        least, most = in_words(self.least), in_words(self.most)
        return in_words(self.likely) + (f" ({least} to {most})" if least != most else "")

    def at_most(self, seconds: float, epoch: "Seconds") -> "Seconds":
        """Cut by a budget of so many, in which an epoch that has begun is still trained."""
        return Seconds(
            min(self.least, seconds + epoch.least),
            min(self.likely, seconds + epoch.likely),
            min(self.most, seconds + epoch.most),
        )


@dataclass(frozen=True)
class Pace:
    """What the parts of a search take, with as many trials beside each other as it runs."""

    epoch: Seconds
    """Of one trial, validation included; from the fastest settings of the space to the slowest."""
    process: float
    """Until a new process is there, with all that it imports."""
    start: float
    """From one trial to the next in a process: network, data and kernels are made ready."""
    prepare: float
    """Before the first trial: the data are drawn and packed, as far as they are not."""
    pack_bytes: int
    """Of the disk, that packing takes; 0 where nothing is to be packed."""
