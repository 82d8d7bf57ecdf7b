"""Every error that a user can cause, as one tree.

    KptrainError
    ├── SettingsError     a setting, a configuration file, the command line
    ├── DataError         annotations and images
    ├── WeightsError      pre-trained weights
    ├── CheckpointError   checkpoints and run folders
    └── TrainingError     a training that cannot go on
        └── OutOfMemoryError

A message is one line: where, what must hold, what was given, what to do. The commands print
it as it is and exit with 2; no traceback.
"""


class KptrainError(Exception):
    """An error whose message is meant for the user; a control character in it is spelt out."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in message))


class SettingsError(KptrainError):
    """A setting is unknown, of the wrong type, or out of its range."""


class DataError(KptrainError):
    """The data set is missing, or nothing sound remains in it."""


class WeightsError(KptrainError):
    """Pre-trained weights are missing or do not fit the model."""


class CheckpointError(KptrainError):
    """A checkpoint or a run folder is not what the command needs."""


class TrainingError(KptrainError):
    """The training reached a state from which it cannot go on."""


class OutOfMemoryError(TrainingError):
    """The training does not fit into the memory that it may use."""


def spelt_out(error: KptrainError | OSError) -> KptrainError:
    """An error as a command says it: of the system's, which no part of it foresaw, what to do."""
    if isinstance(error, KptrainError):
        return error
    return KptrainError(
        f"{error.filename or 'a file or a pipe'}: must be there to be read or written, but "
        f"{error.strerror or error}; make room, or name another"
    )
