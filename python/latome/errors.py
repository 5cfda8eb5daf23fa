"""The errors of the engine: each says what is wrong, and what to do about it."""

__all__ = ["ArchiveError", "FieldError", "LatomeError", "QueryError", "SettingError", "TrainingError"]


class LatomeError(Exception):
    """An error with its cause and its cure.

    Arguments
    ---------
    field : name of the column, setting or file at fault, or None.
    problem : what is wrong, and what was found.
    hint : what to do about it.
    """

    def __init__(self, field=None, *, problem, hint=""):
        self.field = field
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem}\n{hint}" if hint else problem)


class FieldError(LatomeError):
    """The data, or one of their columns, cannot be used as asked."""


class SettingError(LatomeError):
    """A setting of a model or an option of training has an impossible value."""


class QueryError(LatomeError):
    """The model cannot answer this question."""


class TrainingError(LatomeError):
    """Training cannot start, or cannot go on."""


class ArchiveError(LatomeError):
    """A saved model is missing, damaged, of another kind, or would run code."""
