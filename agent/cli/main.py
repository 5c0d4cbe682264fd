"""The command. Without a verb the talk opens at once: only a verb loads the table of verbs."""

import io
import os
import sys


def main() -> None:
    """Run the command line; every failure ends in one or two lines on stderr and an exit code that says its kind."""
    os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")  # before langgraph is imported, which reads it once
    # Folder names hold any bytes. A stream is None where the shell has closed it.
    for stream, errors in (
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        if sys.argv[1:]:
            from agent.cli.verbs.table import app

            app(prog_name="ltx-agent")
        else:
            from agent.cli.open_chat import open_talk

            open_talk(None)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from agent.cli.output import fail

        sys.exit(fail(error))
