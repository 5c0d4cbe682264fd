"""A question of a single verb to whoever sits at the terminal: answered by words, read as every face reads them."""

import sys


def is_terminal() -> bool:
    """True if there is somebody to ask."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def ask_words(question: str) -> str | None:
    """Return what is typed after the question was shown; None at the end of input."""
    from agent.ui.plain.terminal import Terminal

    terminal = Terminal()
    terminal.forget()
    return terminal.ask(question)


def agrees(question: str, approval: str) -> bool:
    """Ask for a yes to something costly or final; without a terminal, and for anything but a yes, False."""
    from agent.approvals.consent import consent_of

    return is_terminal() and consent_of(ask_words(f"{question} [y/n]") or "", approval) == "yes"
