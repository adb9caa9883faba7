"""What a user did wrong, in one sentence; the command line prints it and exits with 2."""

__all__ = ["UserError"]


class UserError(ValueError):
    """Bad input: the message says what was found and what was wanted."""
