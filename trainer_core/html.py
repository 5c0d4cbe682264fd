"""HTML pages from Jinja templates that stand beside the code that fills them: escaped by default, strict. No torch."""

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup


def render_html(package: str, name: str, plain: Callable[[str], str] | None = None, **values: object) -> str:
    """Return the template `name` of `package` filled in with `values`.

    Every value is escaped unless it is Markup; `plain`, if given, is applied to each string before. Raises
    jinja2.UndefinedError when the template asks for a value that is missing.
    """
    return _environment(package, plain).get_template(name).render(**values)


@cache
def _environment(package: str, plain: Callable[[str], str] | None) -> jinja2.Environment:
    def read(name: str) -> str:
        return files(package).joinpath(name).read_text(encoding="utf-8")

    def finalize(value: Any) -> Any:
        return plain(value) if plain is not None and isinstance(value, str) and not isinstance(value, Markup) else value

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
