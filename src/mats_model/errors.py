"""What can go wrong, each with its own sentence and exit code; `mats_cli.main` is the one place that prints them."""

from __future__ import annotations


class MatsError(Exception):
    """A sentence for the user: what, which file, what to do."""

    exit_code = 1


class UsageError(MatsError):
    """A wrong option, label file or recipe."""

    exit_code = 2


class InputError(MatsError):
    """One input that cannot be heard or read; the job goes on with the next."""

    exit_code = 4


class SilenceError(InputError):
    """Nothing but digital silence (or as good as): said to be silence, never captioned as a sound."""


class ModelError(MatsError):
    """A model folder is missing, incomplete or not what its config says."""

    exit_code = 5


class MismatchError(MatsError):
    """Embeddings of two pipelines were about to be mixed."""

    exit_code = 6


class DeviceError(MatsError):
    """A device that is not there, or memory that ran out."""

    exit_code = 7
