"""Every error that a user can cause, as one tree.

    KptrainError
    ├── SettingsError     a setting, a configuration file, the command line
    ├── DataError         annotations and images
    ├── WeightsError      pre-trained weights
    ├── CheckpointError   checkpoints and run folders
    └── TrainingError     a training that cannot continue
        └── OutOfMemoryError

A message is one line: where, what must hold, what was given, what to do. The commands print
it unchanged, without a traceback, and exit with code 2.
"""


class KptrainError(Exception):
    """An error whose message is for the user; control characters in it are escaped."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class SettingsError(KptrainError):
    """A setting is unknown, of the wrong type, or out of its range."""


class DataError(KptrainError):
    """The data set is missing, or nothing in it is sound."""


class WeightsError(KptrainError):
    """Pre-trained weights are missing or do not fit the model."""


class CheckpointError(KptrainError):
    """A checkpoint or a run folder is not what the command needs."""


class TrainingError(KptrainError):
    """The training reached a state from which it cannot continue."""


class OutOfMemoryError(TrainingError):
    """The training does not fit into the memory that it may use."""


def unreadable(path: object, error: OSError, advice: str = "try again") -> DataError:
    """The error for a file or folder of the data that the system cannot read."""
    return DataError(f"{path}: must be readable, but {error.strerror or error}; {advice}")


def spelt_out(error: KptrainError | OSError) -> KptrainError:
    """An error as a command prints it: unforeseen errors of the system get an advice."""
    if isinstance(error, KptrainError):
        return error
    return KptrainError(
        f"{error.filename or 'a file or a pipe'}: must be readable and writable, but "
        f"{error.strerror or error}; make room, or name another"
    )
