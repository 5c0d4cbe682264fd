"""Markdown templates: names and prompts that anybody chose are text in them, never markup."""

import jinja2
import pytest

from trainer_core.markdown import code, plain, render_markdown


def test_text_brings_no_markup_along():
    assert plain("a|b") == "a\\|b"
    assert plain("<script>") == "&lt;script>"
    assert plain("[click](http://x) ![i](y)") == "\\[click](http://x) !\\[i](y)"
    assert plain("two\nlines") == "two lines"
    assert plain("`rm`") == "'rm'"
    assert plain("C:\\x") == "C:\\\\x"


def test_a_code_span_can_not_be_left():
    assert code("a`b|c\nd<e>") == "`a'b\\|c d<e>`"


def test_a_template_that_lacks_a_value_fails():
    with pytest.raises(jinja2.UndefinedError):
        render_markdown("tools.deliver", "model_card.md.jinja", head="")
