"""Take items ahead: while one is used, another thread takes the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")
_END = object()


def read_ahead(items: Iterable[_T]) -> Iterator[_T]:
    """The items in their order. What taking one raises is raised in its place."""
    source = iter(items)
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, source, _END)
        while True:
            item: Any = following.result()
            if item is _END:
                return
            following = thread.submit(next, source, _END)
            yield item
