"""How fast trials run on this device, measured before a search; all in seconds."""

from dataclasses import astuple, dataclass

from kptrain.machine.progress import in_words


class MeasuringError(Exception):
    """The pace cannot be measured; the message says why."""


@dataclass(frozen=True)
class Seconds:
    """An estimated time: least, likely and most."""

    least: float
    likely: float
    most: float

    @classmethod
    def of(cls, seconds: float) -> "Seconds":
        """A time that is known exactly."""
        return cls(seconds, seconds, seconds)

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.least + other.least, self.likely + other.likely, self.most + other.most)

    def less(self, seconds: float) -> "Seconds":
        """What is left after `seconds` have passed."""
        return Seconds(*(max(value - seconds, 0.0) for value in astuple(self)))

    def __str__(self) -> str:
        least, most = in_words(self.least), in_words(self.most)
        return in_words(self.likely) + (f" ({least} to {most})" if least != most else "")

    def at_most(self, seconds: float, epoch: "Seconds") -> "Seconds":
        """Limited by a budget of `seconds`, after which an epoch that has begun is still
        trained."""
        limits = astuple(Seconds.of(seconds) + epoch)
        return Seconds(*map(min, astuple(self), limits))


@dataclass(frozen=True)
class Pace:
    """How long the parts of a search take, with as many trials in parallel as it will run."""

    epoch: Seconds
    """One epoch of one trial, validation included; from the fastest settings of the space to the
    slowest."""
    process: float
    """The start of a new process, with its imports."""
    start: float
    """From one trial to the next in a process: network, data and kernels are prepared."""
    prepare: float
    """Before the first trial: the data are generated and packed, unless that is already done."""
    pack_bytes: int
    """Disk space in bytes that packing needs; 0 if nothing must be packed."""
