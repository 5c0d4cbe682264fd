"""Markdown documents from Jinja templates that stand beside the code that fills them: escaped by default. No torch."""

from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

_ESCAPES = {"\\": "\\\\", "|": "\\|", "<": "&lt;", "[": "\\[", "`": "'", "\n": " "}


def render_markdown(package: str, name: str, **values: object) -> str:
    """Return the template `name` of `package` filled in with `values`.

    Every string is escaped by `plain` unless it is Markup; `{{ value | code }}` writes it as a code span. Raises
    jinja2.UndefinedError when the template asks for a value that is missing.
    """
    return _environment(package).get_template(name).render(**values)


def plain(text: str) -> str:
    """Anybody's text, fit for a line or a table cell: without line breaks, links, HTML or code of its own."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def code(text: str) -> Markup:
    """Anybody's text as a code span, fit for a table cell: nothing in it is markup there but a backtick and a pipe."""
    return Markup("`" + text.replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`")


@cache
def _environment(package: str) -> jinja2.Environment:
    def read(name: str) -> str:
        return files(package).joinpath(name).read_text(encoding="utf-8")

    def finalize(value: Any) -> Any:
        return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(read),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["code"] = code
    return environment
