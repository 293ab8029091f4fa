"""Any predictions survive the CSV, any single mutation of it is refused, and a ledger cut anywhere
keeps what was recorded.
"""

from __future__ import annotations

import csv
import string
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcam_kit.competitions import Competition, find_competition
from pcam_kit.errors import SubmissionError
from pcam_kit.submissions import CheckedCsv, Entry, Ledger, Origin, check_csv, write_csv

LAB, HCD = find_competition("tnm112"), find_competition("hcd")
names = st.text(string.ascii_letters + string.digits + "_-.,;'\"éß", min_size=1, max_size=12)
unit = st.floats(0, 1, width=32)


@contextmanager
def folder() -> Iterator[Path]:
    """hypothesis runs many examples in one test, so tmp_path would be shared."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@st.composite
def predictions(
    draw: st.DrawFn, least: int = 1
) -> tuple[Competition, list[str], np.ndarray, float]:
    ids = draw(st.lists(names, min_size=least, max_size=12, unique=True))
    p = draw(st.lists(unit, min_size=len(ids), max_size=len(ids)))
    return draw(st.sampled_from([LAB, HCD])), ids, np.array(p, np.float32), draw(st.floats(0, 1))


@given(predictions())
@settings(max_examples=100, deadline=None)
def test_written_then_read_is_exactly_the_same(
    case: tuple[Competition, list[str], np.ndarray, float],
) -> None:
    competition, ids, p, threshold = case
    with folder() as at:
        found = write_csv(at / "a.csv", competition, ids, p, threshold=threshold)
        expected = p.astype(np.float64) >= threshold if competition.target == "class" else p
        np.testing.assert_array_equal(found.values, expected.astype(np.float32))
        again = check_csv(at / "a.csv", competition, ids)
        assert replace(again, values=found.values) == found


@given(st.lists(unit, max_size=50), st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_every_float32_reads_back(chosen: list[float], seed: int) -> None:
    # all patterns from 0.0 to 1.0
    bits = np.random.default_rng(seed).integers(0, 0x3F800000 + 1, 5000, dtype=np.uint32)
    p = np.concatenate([np.array(chosen, np.float32), bits.view(np.float32)])
    with folder() as at:
        found = write_csv(at / "a.csv", HCD, [f"i{k}" for k in range(p.size)], p, threshold=None)
        np.testing.assert_array_equal(found.values, p)


@given(predictions(least=2), st.data())
@settings(max_examples=250, deadline=None)
def test_any_single_mutation_is_refused(
    case: tuple[Competition, list[str], np.ndarray, float], data: st.DataObject
) -> None:
    competition, ids, p, threshold = case
    row = st.integers(0, len(ids) - 1)
    with folder() as at:
        path = at / "a.csv"
        values = write_csv(path, competition, ids, p, threshold=threshold).values
        texts = [f"{v:.0f}" if competition is LAB else str(v) for v in values]
        rows = [list(pair) for pair in zip(ids, texts, strict=True)]
        i = data.draw(row)
        match data.draw(
            st.sampled_from(["drop", "repeat", "id", "value", "column", "blank", "header"])
        ):
            case "drop":
                del rows[i]
            case "repeat":
                rows.insert(data.draw(row), list(rows[i]))
            case "id":
                rows[i][0] = data.draw(
                    names.filter(lambda name: name != ids[i]) | st.just("") | st.just(ids[i] + " ")
                )
            case "value":
                wrong = st.sampled_from(["", "nan", "inf", "-inf", "NaN", "x", "1,0", "1e999"])
                if competition.metric != "roc_auc":  # of which only the order counts
                    wrong |= st.floats().filter(lambda v: not 0 <= v <= 1).map(str)
                rows[i][1] = data.draw(wrong)
            case "column":
                rows[i].append("0")
            case "blank":
                rows.insert(i, [])
            case _:
                rows = rows[1:] if data.draw(st.booleans()) else [list(competition.header), *rows]
        quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in cells) for cells in rows]
        path.write_text("\n".join([",".join(competition.header), *quoted]) + "\n", encoding="utf-8")
        with pytest.raises(SubmissionError):
            check_csv(path, competition, ids)


@given(predictions(), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=100, deadline=None)
def test_the_order_of_rows_and_columns_changes_nothing(
    case: tuple[Competition, list[str], np.ndarray, float], dice: Random, turned: bool
) -> None:
    competition, ids, p, threshold = case
    with folder() as at:
        expected = write_csv(at / "a.csv", competition, ids, p, threshold=threshold)
        with open(at / "a.csv", encoding="utf-8", newline="") as handle:
            header, *rows = csv.reader(handle)
        dice.shuffle(rows)
        with open(at / "b.csv", "w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerows(row[::-1] if turned else row for row in (header, *rows))
        found = check_csv(at / "b.csv", competition, ids)
        np.testing.assert_array_equal(found.values, expected.values)


def play(ledger: Ledger, steps: list[tuple[str, int]]) -> list[tuple[int, list[Entry]]]:
    """Do the steps; after each, the size of the file and what it then says."""
    history: list[tuple[int, list[Entry]]] = [(0, [])]
    sent: list[str] = []
    for step, k in steps:
        made = CheckedCsv(
            ledger.path.parent / f"{k % 3}.csv", f"{k % 3:064x}", 1, 0.0, np.zeros(1, np.float32)
        )
        slug = (LAB, HCD)[k % 2].slug
        if step == "written":
            ledger.record_written(made, slug, Origin([f"run-{k}"]))
        elif step == "intent":
            sent.append(ledger.record_intent(made, slug, message=f"é {k}"))
        elif sent:
            name = sent[k % len(sent)]
            match step:
                case "sent":
                    ledger.record_sent(name, k + 1)
                case "complete":
                    ledger.record_scored(name, "complete", public=k / 10)
                case "pending":
                    ledger.record_scored(name, "pending")
                case _:
                    ledger.record_failed(name, "no network")
        size = ledger.path.stat().st_size if ledger.path.exists() else 0
        history.append((size, Ledger(ledger.path).entries()))
    return history


steps = st.tuples(
    st.sampled_from(["written", "intent", "sent", "complete", "pending", "failed"]),
    st.integers(0, 11),
)


@given(st.lists(steps, max_size=10), st.data())
@settings(max_examples=60, deadline=None)
def test_a_ledger_cut_at_any_byte_still_says_all_that_was_recorded(
    events: list[tuple[str, int]], data: st.DataObject
) -> None:
    with folder() as at:
        path = at / "ledger.jsonl"
        history = play(Ledger(path), events)
        whole = path.read_bytes() if path.exists() else b""
        cut = data.draw(st.integers(0, len(whole)))
        path.write_bytes(whole[:cut])
        # An event counts as recorded when its line is there; only the line end may be missing.
        expected = [entries for size, entries in history if max(size - 1, 0) <= cut][-1]
        found = Ledger(path).entries()
        assert found == expected
        for entry in found:
            if entry.status in ("pending", "complete", "unknown"):
                assert Ledger(path).already_sent(entry.sha256, entry.competition) is not None
        # Life goes on after the cut: nothing old is lost, and the half line does not swallow the
        # new one.
        made = CheckedCsv(at / "new.csv", "f" * 64, 1, 0.0, np.zeros(1, np.float32))
        name = Ledger(path).record_intent(made, LAB.slug, message="")
        Ledger(path).record_sent(name, 99)
        after = Ledger(path).entries()
        assert after[:-1] == expected
        assert (after[-1].id, after[-1].ref, after[-1].status) == (name, 99, "pending")


@given(st.lists(steps, max_size=14))
@settings(max_examples=60, deadline=None)
def test_a_final_score_and_a_number_are_never_taken_back(events: list[tuple[str, int]]) -> None:
    with folder() as at:
        history = play(Ledger(at / "ledger.jsonl"), events)
        for (_, before), (_, after) in pairwise(history):
            now = {entry.id: entry for entry in after}
            for entry in before:
                if entry.id is not None:
                    assert entry.id in now
                    assert entry.ref is None or now[entry.id].ref is not None
                    assert entry.status != "complete" or now[entry.id].status == "complete"
                    assert entry.ref is None or now[entry.id].status in (
                        "pending",
                        "complete",
                        "failed",
                    )
