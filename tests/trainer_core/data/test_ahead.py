"""Reading ahead: in order, only so far, errors where they belong, and no thread left behind."""

import threading

import pytest

from trainer_core.data.encoding.ahead import ahead


def running() -> bool:
    return any(thread.name == "read-ahead" for thread in threading.enumerate())


def test_items_come_in_order_and_only_so_many_are_made_beforehand():
    made = []
    items = ahead((made.append(index) or index for index in range(50)), depth=3)
    assert next(items) == 0
    assert len(made) <= 6
    assert list(items) == list(range(1, 50))
    assert not running()


def test_an_error_comes_after_what_was_made_before_it():
    def failing():
        yield 1
        raise ValueError("broken")

    items = ahead(failing(), depth=2)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken"):
        next(items)
    assert not running()


def test_closing_ends_the_thread_though_it_waits():
    items = ahead(iter(range(1000)), depth=1)
    assert next(items) == 0
    items.close()
    assert not running()
