"""Input from before a question was shown: it is thrown away, for it can't be an answer to it.

A terminal keeps it in its line discipline, a pipe or a file in itself and in what was read of it too early.
"""

import array
import fcntl
import os
import select
import sys
import termios


class Pipe:
    """Lines of a standard input that is no terminal; what waits in it can be told from what is still to come."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._read = bytearray()
        self._ended = False

    def line(self) -> str:
        """The next line without its end. Raises EOFError where there is none."""
        while b"\n" not in self._read and not self._ended:
            self._take()
        if not self._read:
            raise EOFError
        line, _, rest = bytes(self._read).partition(b"\n")
        self._read = bytearray(rest)
        return line.decode(errors="replace").removesuffix("\r")

    def forget(self) -> bool:
        """Throw away what was written so far; return whether there was any."""
        while not self._ended and select.select([self._descriptor], [], [], 0)[0]:
            self._take()
        found = bool(self._read)
        self._read.clear()
        return found

    def _take(self) -> None:
        piece = os.read(self._descriptor, 65536)
        self._read += piece
        self._ended = not piece


def pipe_of_stdin() -> Pipe | None:
    """The standard input as a pipe; None where it is a terminal, or no file of the system at all."""
    try:
        return None if sys.stdin.isatty() else Pipe(sys.stdin.fileno())
    except (AttributeError, OSError, ValueError):  # a program that runs us has put something else there
        return None


def forget_typed() -> bool:
    """Throw away what was typed ahead on the terminal; return whether a whole line was there."""
    if not sys.stdin.isatty():
        return False
    descriptor, waiting = sys.stdin.fileno(), array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
    termios.tcflush(descriptor, termios.TCIFLUSH)
    return waiting[0] > 0
