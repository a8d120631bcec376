"""What the command line's exit codes say."""

RIGHT, WRONG, BAD_REQUEST, INTERRUPTED = 0, 1, 2, 130

#: Nobody reads standard output any longer; rich ends with this, too.
NO_READER = 1
