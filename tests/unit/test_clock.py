"""Times that are kept in files sort in the order in which things happened."""

from __future__ import annotations

import pytest

from pcam_kit import clock

NOON = "2026-11-26T12:00:00.000+00:00"


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ([], NOON),
        (["2026-11-26T11:59:59.999+00:00"], NOON),
        ([NOON], "2026-11-26T12:00:00.001+00:00"),
        (["2030-01-01T00:00:00.000+00:00", NOON], "2030-01-01T00:00:00.001+00:00"),
        # of version 0.1, with microseconds
        (["2030-01-01T00:00:00.123456+00:00"], "2030-01-01T00:00:00.124+00:00"),
        (["zzz", "", "9999-12-31T23:59:59.999+00:00", "2030-01-01"], NOON),
    ],
)
def test_later_things_sort_behind(earlier: list[str], expected: str) -> None:
    assert clock.behind(earlier, NOON) == expected
    assert all(text < expected for text in earlier if text.startswith("20") and "T" in text)


def test_now_is_such_a_time() -> None:
    assert clock.behind([], clock.now()) <= clock.behind([], clock.now())
    assert clock.now().endswith("+00:00")
