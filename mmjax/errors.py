"""What a user can mend: said in one message, without a traceback.

* Everything that is wrong with a config, with data, with a checkpoint or with a file is a
  `UserError`; a command line prints its message and ends with status 2.
* Every other exception is a bug, of mmjax or of a part that was plugged in, and keeps its
  traceback.
"""


class UserError(Exception):
    """Says what was wrong, where, and what would be right."""


class NotFinite(UserError, ArithmeticError):
    """A NaN or an infinity where only numbers are of use: weights, vectors, losses."""
