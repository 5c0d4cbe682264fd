"""Rendering of the prompt texts beside this module: strict Jinja2, so that a forgotten value is an error."""

import re
from functools import cache
from importlib.resources import files

import jinja2

_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)


def render(name: str, **values: object) -> str:
    """Return `prompts/<name>.md` with `values` filled in. Raises jinja2.UndefinedError when one is missing."""
    return _environment().get_template(f"{name}.md").render(**values).strip()


def section(name: str, heading: str, **values: object) -> str:
    """Return the text under `## heading` of `prompts/<name>.md` with `values` filled in."""
    return _template(name, heading).render(**values).strip()


@cache
def sections(name: str) -> dict[str, str]:
    """Return the unrendered texts of `prompts/<name>.md` by their `## ` headings."""
    parts = _HEADING.split(_read(f"{name}.md"))
    return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))


@cache
def _template(name: str, heading: str) -> jinja2.Template:
    return _environment().from_string(sections(name)[heading])


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_read), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _read(name: str) -> str:
    return files("prompts").joinpath(name).read_text(encoding="utf-8")
