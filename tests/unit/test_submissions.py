"""Submission CSVs: written as the competition wants them, every fault named; and the ledger that
remembers what was sent.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pcam_kit.competitions import Competition, find_competition
from pcam_kit.errors import StorageError, SubmissionError
from pcam_kit.submissions import (
    CheckedCsv,
    Entry,
    Ledger,
    Origin,
    best_first,
    check_csv,
    events,
    write_csv,
)

LAB, HCD = find_competition("tnm112"), find_competition("hcd")
IDS = [str(i) for i in range(12)]
GOOD = ["id,class", *(f"{i},{int(i) % 2}" for i in IDS)]


def save(tmp_path: Path, lines: list[str], end: str = "\n") -> Path:
    path = tmp_path / "some.csv"
    path.write_bytes((end.join(lines) + end).encode())
    return path


def refused(path: Path, competition: Competition = LAB, ids: list[str] = IDS) -> str:
    with pytest.raises(SubmissionError) as caught:
        check_csv(path, competition, ids)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value.message


def changed(line: int, text: str) -> list[str]:
    """The good file with its `line` (from 1) replaced."""
    return [*GOOD[: line - 1], text, *GOOD[line:]]


class TestWriting:
    def test_classes_are_cut_at_the_threshold_in_float64(self, tmp_path: Path) -> None:
        p = np.array([0.3, np.nextafter(np.float32(0.3), np.float32(1)), 0.0, 1.0], np.float32)
        between = (float(p[0]) + float(p[1])) / 2
        found = write_csv(tmp_path / "new" / "a.csv", LAB, IDS[:4], p, threshold=between)
        assert found.path.read_bytes() == b"id,class\n0,0\n1,1\n2,0\n3,1\n"
        assert found.values.tolist() == [0, 1, 0, 1]
        assert (found.rows, found.positive_rate) == (4, 0.5)
        assert found.sha256 == hashlib.sha256(found.path.read_bytes()).hexdigest()
        at = write_csv(tmp_path / "a.csv", LAB, IDS[:4], p, threshold=float(p[1]))
        assert at.values.tolist() == [0, 1, 0, 1]  # exactly the threshold is positive

    def test_probabilities_are_untouched_and_short(self, tmp_path: Path) -> None:
        p = np.array([0.1, 1e-10, 1 / 3, 0.0, -0.0, 1.0], np.float32)
        found = write_csv(tmp_path / "a.csv", HCD, list("abcdef"), p, threshold=0.9)
        assert (
            found.path.read_text(encoding="utf-8")
            == "id,label\na,0.1\nb,1e-10\nc,0.33333334\nd,0.0\ne,0.0\nf,1.0\n"
        )
        np.testing.assert_array_equal(found.values, p)
        assert found.values.dtype == np.float32
        assert found.positive_rate == 1 / 6

    @pytest.mark.parametrize(
        ("values", "threshold", "says"),
        [
            ([0.1, 0.2], 0.5, r"each of 3 test ids, found probabilities \[2\]"),
            ([[0.1], [0.2], [0.3]], 0.5, r"found probabilities \[3, 1\]"),
            ([0.1, np.nan, 2.0], 0.5, r"2 of 3 probabilities .* first is nan, for id '1'"),
            ([0.1, 0.2, -0.5], 0.5, "-0.5, for id '2'"),
            ([0.1, 0.2, 0.3], None, "needs a threshold"),
            ([0.1, 0.2, 0.3], float("nan"), "needs a threshold"),
        ],
    )
    def test_bad_predictions_write_nothing(
        self, tmp_path: Path, values: list[float], threshold: float | None, says: str
    ) -> None:
        before = write_csv(
            tmp_path / "a.csv", LAB, IDS[:3], np.ones(3), threshold=0.5
        ).path.read_bytes()
        with pytest.raises(SubmissionError, match=says):
            write_csv(tmp_path / "a.csv", LAB, IDS[:3], np.array(values), threshold=threshold)
        assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
        assert (tmp_path / "a.csv").read_bytes() == before

    @pytest.mark.parametrize(
        ("ids", "says"),
        [
            ([], "no test images"),
            (["a", "b", "a"], "'a' stands there more"),
            (["a", " b"], "' b'"),
            (["a\nb"], "usable"),
        ],
    )
    def test_ids_that_cannot_be_submitted(self, tmp_path: Path, ids: list[str], says: str) -> None:
        with pytest.raises(SubmissionError, match=says):
            write_csv(tmp_path / "a.csv", LAB, ids, np.zeros(len(ids)), threshold=0.5)
        with pytest.raises(SubmissionError, match=says):
            check_csv(tmp_path / "a.csv", LAB, ids)

    def test_ids_with_commas_and_quotes(self, tmp_path: Path) -> None:
        found = write_csv(
            tmp_path / "a.csv",
            HCD,
            ["a,b", 'c"d', "é;"],
            np.array([0.25, 0.5, 0.75]),
            threshold=None,
        )
        assert found.values.tolist() == [0.25, 0.5, 0.75]

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").mkdir()
        with pytest.raises(StorageError, match="cannot write"):
            write_csv(tmp_path / "a.csv", LAB, IDS, np.zeros(12), threshold=0.5)


class TestAccepted:
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    @pytest.mark.parametrize("last", [True, False])
    def test_windows_line_ends_a_byte_order_mark_and_no_last_line_end(
        self, tmp_path: Path, end: str, mark: bytes, last: bool
    ) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes(mark + (end.join(GOOD) + (end if last else "")).encode())
        found = check_csv(path, LAB, IDS)
        assert found == CheckedCsv(
            path, hashlib.sha256(path.read_bytes()).hexdigest(), 12, 0.5, found.values
        )
        assert found.values.tolist() == [int(i) % 2 for i in IDS]

    @pytest.mark.parametrize(
        "value", ["1", "0", "0.5", ".5", "1.", "5e-1", "+0.5", "1E-300", '"0.5"']
    )
    def test_ways_to_write_a_probability(self, tmp_path: Path, value: str) -> None:
        assert check_csv(
            save(tmp_path, ["id,label", f"a,{value}"]), HCD, ["a"]
        ).values.tolist() == [np.float32(value.strip('"'))]

    def test_rows_and_columns_in_another_order(self, tmp_path: Path) -> None:
        """Kaggle goes by names and ids; the values still belong to the test images."""
        header, *rows = (line.split(",") for line in GOOD)
        dice = np.random.default_rng(4)
        for turn, shuffle in ((True, False), (False, True), (True, True)):
            lines = [rows[i] for i in dice.permutation(12)] if shuffle else rows
            lines = [line[::-1] if turn else line for line in (header, *lines)]
            path = save(tmp_path, [",".join(line) for line in lines])
            found = check_csv(path, LAB, IDS)
            assert found.values.tolist() == [int(i) % 2 for i in IDS]
            said = " ".join(found.notes)
            assert ("columns are in another order" in said) == turn
            assert ("rows are in another order" in said) == shuffle
            assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_scores_of_which_only_the_order_counts(self, tmp_path: Path) -> None:
        path = save(tmp_path, ["id,label", "a,-3.5", "b,1e300", "c,0.25"])
        found = check_csv(path, HCD, list("abc"))
        assert found.values.tolist() == [-3.5, np.inf, 0.25]
        assert found.positive_rate == 1 / 3
        assert found.notes == (
            "the scores go from -3.5 to 1e+300; for AUC only their order counts",
        )
        log_loss = HCD.model_copy(update={"metric": "log_loss"})
        message = refused(path, log_loss, list("abc"))
        assert "2 faults" in message
        assert "expected a number from 0 to 1" in message

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_blank_lines_at_the_end(self, tmp_path: Path, end: str) -> None:
        assert check_csv(save(tmp_path, [*GOOD, "", ""], end), LAB, IDS).rows == 12
        assert "line 14: empty" in refused(save(tmp_path, [*GOOD, "", "12,1"], end))

    def test_packed_it_is_checked_inside_and_kept_as_it_is(self, tmp_path: Path) -> None:
        plain = save(tmp_path, GOOD)
        expected = check_csv(plain, LAB, IDS)
        for path, data in packed(tmp_path, plain.read_bytes()).items():
            path.write_bytes(data)
            found = check_csv(path, LAB, IDS)
            assert found.values.tolist() == expected.values.tolist()
            assert (found.path, found.size) == (path, len(data))
            assert found.sha256 == hashlib.sha256(data).hexdigest()
            assert found.content_sha256 == expected.sha256
            assert "sent as it is" in found.notes[0]

    def test_packed_and_wrong_inside(self, tmp_path: Path) -> None:
        for path, data in packed(tmp_path, "\n".join(changed(6, "4,x")).encode()).items():
            path.write_bytes(data)
            assert "line 6: id '4' has 'x'" in refused(path)


def packed(folder: Path, content: bytes) -> dict[Path, bytes]:
    """A CSV packed in all the ways that people have."""

    def zipped(*members: tuple[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members:
                archive.writestr(name, data)
        return buffer.getvalue()

    return {
        folder / "a.csv.gz": gzip.compress(content),
        folder / "two parts.csv.gz": gzip.compress(content[:9]) + gzip.compress(content[9:]),
        folder / "a.zip": zipped(("a.csv", content)),
        folder / "A.CSV.ZIP": zipped(("deep/", b""), ("deep/A.CSV", content)),
        folder / "mac.zip": zipped(("a.csv", content), ("__MACOSX/._a.csv", b"x")),
    }


class TestPackedAndRefused:
    def made(self, folder: Path, name: str, data: bytes) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    def test_names_that_say_something_else(self, tmp_path: Path) -> None:
        files = packed(tmp_path, "\n".join(GOOD).encode())
        for name in ("a.csv.gz", "a.zip"):
            path = self.made(tmp_path, "b.csv", files[tmp_path / name])
            assert "although its name does not say so" in refused(path)
        for name in ("b.csv.gz", "b.zip"):
            path = self.made(tmp_path, name, "\n".join(GOOD).encode())
            assert "is not packed, although its name says so" in refused(path)

    def test_no_csv_or_several_of_them(self, tmp_path: Path) -> None:
        for names in ([], ["a.txt"], ["a.csv", "b.csv"], [f"{i}.csv" for i in range(9)]):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                for name in names:
                    archive.writestr(name, "id,class\n")
            path = self.made(tmp_path, "a.zip", buffer.getvalue())
            assert "expected one CSV file and nothing else" in refused(path)

    def test_damaged_cut_or_encrypted(self, tmp_path: Path) -> None:
        content = "\n".join(GOOD).encode() * 50
        for path, data in packed(tmp_path, content).items():
            for bad in (data[:-4], data[: len(data) // 2], data[:30], data[:4]):
                path.write_bytes(bad)
                refused(path)
            flipped = bytearray(data)
            flipped[len(data) // 2] ^= 0x10
            path.write_bytes(flipped)
            refused(path)

    def test_a_bomb_is_not_unpacked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from pcam_kit.submissions import packed as module

        monkeypatch.setattr(module, "CSV_BYTES", 1 << 20)
        for path, data in packed(tmp_path, b"0" * (2 << 20)).items():
            path.write_bytes(data)
            assert "unpacks to more than 1,048,576 bytes" in refused(path)
        path = self.made(tmp_path, "a.csv", b"0" * (2 << 20))
        assert "more than 1,048,576 bytes" in refused(path)

    @pytest.mark.parametrize(
        ("start", "what"),
        [
            (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive, not a CSV"),
            (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, not a CSV"),
            (b"BZh9", "is a bzip2 file, not a CSV"),
            (b"<html><title>Sign in</title>", "is a web page: 'Sign in', not a CSV"),
        ],
    )
    def test_other_formats_are_named(self, tmp_path: Path, start: bytes, what: str) -> None:
        message = refused(self.made(tmp_path, "a.csv", start + b"\0\1" * 50))
        assert what in message

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
    def test_a_pipe_does_not_wait_for_ever(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.csv")
        assert "it is a pipe" in refused(tmp_path / "a.csv")


class TestRefused:
    @pytest.mark.parametrize(
        ("header", "why"),
        [
            ("Id,Class", "letter for letter"),
            ("id, class", "letter for letter"),
            ("id,label", "the columns of tnm-112-lab-2-2024"),
            (",id,class", "index=False"),
            ("id;class", "separated by a comma"),
            ("0,0", "header is missing"),
            ("", "the columns of"),
        ],
    )
    def test_header(self, tmp_path: Path, header: str, why: str) -> None:
        message = refused(save(tmp_path, changed(1, header)))
        assert "line 1" in message
        assert repr(header) in message
        assert "expected 'id,class'" in message
        assert why in message

    @pytest.mark.parametrize(
        ("row", "says"),
        [
            ("4", "line 6: 1 columns ('4'); expected 2"),
            ("4,0,0", "line 6: 3 columns ('4,0,0'); expected 2"),
            ("", "line 6: empty; expected 2 columns"),
            ("4,", "line 6: id '4' has no value; expected 0 or 1"),
            ("4,nan", "line 6: id '4' has 'nan'; expected 0 or 1"),
            ("4,NaN", "line 6: id '4' has 'NaN'; expected 0 or 1"),
            (
                "4,1.0",
                "line 6: id '4' has '1.0'; expected the whole number 1, without sign or decimals",
            ),
            ("4,-0", "line 6: id '4' has '-0'; expected the whole number 0,"),
            ("4,0.7", "line 6: id '4' has '0.7'; expected 0 or 1, not a probability"),
            ("4,2", "line 6: id '4' has '2'; expected 0 or 1"),
            ("4, 1", "line 6: id '4' has ' 1'; expected 0 or 1"),
            ("4,yes", "line 6: id '4' has 'yes'; expected 0 or 1"),
        ],
    )
    def test_row_for_classes(self, tmp_path: Path, row: str, says: str) -> None:
        message = refused(save(tmp_path, changed(6, row)))
        assert says in message
        assert "1 fault\n" in message or row == ""  # an empty line also loses its id

    @pytest.mark.parametrize(
        "value",
        [
            "nan",
            "inf",
            "-inf",
            "Infinity",
            "",
            "x",
            "1e999",
            "1_0",
            "٠",
            "0x1",
            "0.5 ",
            "1e",
        ],
    )
    def test_value_for_probabilities(self, tmp_path: Path, value: str) -> None:
        message = refused(save(tmp_path, ["id,label", "a,0.5", f"b,{value}"]), HCD, ["a", "b"])
        assert "line 3: id 'b' has" in message
        assert repr(value) in message or "no value" in message
        assert "expected a finite number" in message

    def test_missing_extra_repeated_and_altered_ids(self, tmp_path: Path) -> None:
        assert "1 fault\n  missing: id '4'" in refused(save(tmp_path, [*GOOD[:5], *GOOD[6:]]))
        assert "1 fault\n  line 14: id '12' is not a test id" in refused(
            save(tmp_path, [*GOOD, "12,0"])
        )
        assert (
            "1 fault\n  line 14: id '4' again, first on line 6; expected each id once"
            in refused(save(tmp_path, [*GOOD, "4,0"]))
        )
        message = refused(save(tmp_path, changed(6, "04,0")))
        assert "2 faults\n  line 6: id '04' is not a test id\n  missing: id '4'" in message

    def test_five_faults_are_listed_and_the_rest_counted(self, tmp_path: Path) -> None:
        message = refused(save(tmp_path, ["id,class", *(f"{i},x" for i in IDS)]))
        assert "12 faults" in message
        assert len(re.findall("\n  line", message)) == 5
        assert message.endswith("and 7 more")

    def test_only_a_header(self, tmp_path: Path) -> None:
        assert "12 faults" in refused(save(tmp_path, GOOD[:1]))

    def test_files_that_are_no_csv(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        assert "there is no file" in refused(path)
        assert "is a folder" in refused(tmp_path)
        for empty in (b"", b"\n\n", b"\xef\xbb\xbf"):
            path.write_bytes(empty)
            assert "is empty" in refused(path)
        path.write_bytes("\n".join(GOOD).encode("utf-16"))
        assert "is UTF-16 text, not UTF-8" in refused(path)
        path.write_bytes("\n".join(GOOD).encode("utf-16-le"))
        assert "is UTF-16 text, not UTF-8" in refused(path)
        path.write_bytes("\n".join(GOOD).encode("utf-32"))
        assert "is UTF-32 text, not UTF-8" in refused(path)
        path.write_bytes("\n".join(GOOD).encode().replace(b"\n4,", b"\n\xe4,"))
        assert "not UTF-8 text: line 6 holds the byte 0xe4" in refused(path)
        path.write_text("\n".join(GOOD) + '\n"12,1', encoding="utf-8")
        assert "not a CSV file: line 14" in refused(path)

    def test_the_csv_of_another_competition(self, tmp_path: Path) -> None:
        path = write_csv(tmp_path / "a.csv", HCD, IDS, np.zeros(12), threshold=None).path
        assert "expected 'id,class'" in refused(path)


ORIGIN = Origin(
    ["run-1", "run-2"],
    ["lab"],
    "abc123",
    "d4",
    0.9,
    0.8,
    0.8,
    0.78,
    float("nan"),
    mean="logits",
    weights="fitted",
    stain="macenko",
)


def csv(tmp_path: Path, name: str = "a.csv", seed: int = 0) -> CheckedCsv:
    return write_csv(
        tmp_path / name, HCD, IDS, np.random.default_rng(seed).random(12), threshold=None
    )


class TestLedger:
    def test_no_file_no_entries(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path / "ledger.jsonl")
        assert ledger.entries() == []
        assert ledger.newest() is None
        assert ledger.find_by_sha256("0") is None
        assert ledger.already_sent("0", "hcd") is None
        assert list(tmp_path.iterdir()) == []

    def test_from_written_to_scored(self, tmp_path: Path) -> None:
        path, made = tmp_path / "ledger.jsonl", csv(tmp_path)
        ledger = Ledger(path)
        ledger.record_written(made, HCD.slug, ORIGIN)
        (entry,) = ledger.entries()
        assert entry == Entry(
            **(vars(ORIGIN) | {"valid_high": None}),
            csv=str(tmp_path / "a.csv"),
            sha256=made.sha256,
            competition=HCD.slug,
            created=entry.created,
            status="written",
        )
        assert entry.created.endswith("+00:00")
        assert ledger.already_sent(made.sha256, HCD.slug) is None

        name = ledger.record_intent(made, HCD.slug, message="first try")
        statuses = [ledger.entries()[0].status, Ledger(path).entries()[0].status]
        assert statuses == ["sending", "unknown"]
        ledger.record_sent(name, 41)
        assert ledger.entries()[0].status == "pending"
        other = Ledger(path)  # polling may go on in another process
        other.record_scored(name, "pending")
        other.record_scored(name, "complete", public=0.91, private=0.9)
        other.record_scored(name, "pending")  # an answer that came late
        (entry,) = ledger.entries()
        assert (entry.id, entry.ref, entry.status, entry.public_score, entry.private_score) == (
            name,
            41,
            "complete",
            0.91,
            0.9,
        )
        assert (entry.message, entry.file_name, entry.runs, entry.valid_auc) == (
            "first try",
            "a.csv",
            ["run-1", "run-2"],
            0.9,
        )
        assert entry.sent is not None
        assert (
            entry
            == Ledger(path).find_by_sha256(made.sha256)
            == Ledger(path).newest()
            == Ledger(path).newest(HCD.slug)
        )
        assert all(
            json.loads(line)["schema_version"] == 1
            for line in path.read_text(encoding="utf-8").splitlines()
        )

    WRONG = (7, 1.5, True, None, "x\ud800", [], [[]], {}, {"a": [None]}, 10**400, -1, [1, "a"])

    def test_whatever_one_field_holds_the_others_can_be_listed(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Each field of each event gets values of every other type; NaN is not even JSON."""
        path, made = tmp_path / "ledger.jsonl", csv(tmp_path)
        ledger = Ledger(path)
        ledger.record_written(made, HCD.slug, ORIGIN)
        name = ledger.record_intent(made, HCD.slug, message="a", alike={3}, again=True)
        ledger.record_submitting(name, datetime(2026, 1, 1, tzinfo=UTC))
        ledger.record_missing(name)
        ledger.record_sent(name, 41)
        ledger.record_scored(name, "complete", public=0.9, private=0.8)
        ledger.record_failed(name, "late")
        lines = path.read_text(encoding="utf-8").splitlines()
        assert {json.loads(line)["event"] for line in lines} == set(events.REQUIRED)
        (good,) = Ledger(path).entries()
        tried = 0
        for at, line in enumerate(lines):
            for field in json.loads(line):
                for value in (*self.WRONG, "gone"):
                    event = json.loads(line) | {field: value}
                    if value == "gone":
                        del event[field]
                    text = json.dumps(event).replace(str(10**400), "1e400")
                    path.write_text(
                        "\n".join([*lines[:at], text, *lines[at + 1 :]]), encoding="utf-8"
                    )
                    caplog.clear()
                    if field == "schema_version" and value == 7:
                        continue  # a newer pcam-kit, told as such
                    found = Ledger(path).entries()
                    assert "ledger.jsonl" not in caplog.text or f"line {at + 1} " in caplog.text
                    for entry in best_first(found):
                        json.dumps(entry.to_dict(), allow_nan=False)
                        assert f"{entry.gap or 0:.4f}"
                        assert ",".join([*entry.runs, *entry.configs, *entry.leaks]) is not None
                    tried += 1
        assert tried > 700
        path.write_text("\n".join(lines), encoding="utf-8")
        assert Ledger(path).entries() == [good]

    @pytest.mark.parametrize(
        "line",
        [
            '{"event": "sent", "id": NaN}',
            "[1, 2]",
            '"text"',
            "[" * 5000,
            '{"event": 1}',
            '{"event": {"a": 1}, "time": "2026-01-01"}',
            "\x00\x1b[2J",
            '{"schema_version": 1, "event": "sent", "time": "2026-01-01", "id": "0", "ref": "12"}',
            '{"event": "sent", "time": "x", "id": "0", "ref": ' + "9" * 5000 + "}",
        ],
    )
    def test_a_line_that_cannot_be_read_is_named_once_and_stays(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str
    ) -> None:
        path, made = tmp_path / "ledger.jsonl", csv(tmp_path)
        Ledger(path).record_written(made, HCD.slug, ORIGIN)
        with open(path, "a", encoding="utf-8", newline="\n") as handle:
            handle.write(f"{line}\n")
        before = path.read_bytes()
        for _ in range(3):
            assert len(Ledger(path).entries()) == 1
        assert caplog.text.count("cannot be read") == 1
        assert f"{path}: line 2 cannot be read" in caplog.text
        Ledger(path).record_intent(made, HCD.slug, message="")
        assert path.read_bytes().startswith(before)
        assert len(Ledger(path).entries()) == 1

    def test_events_and_fields_of_later_versions_pass_in_silence(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = tmp_path / "ledger.jsonl"
        Ledger(path).record_intent(csv(tmp_path), HCD.slug, message="")
        before = Ledger(path).entries()
        with open(path, "a", encoding="utf-8", newline="\n") as handle:
            handle.write('{"schema_version": 1, "event": "starred", "time": 5, "new": []}\n')
        assert Ledger(path).entries() == before
        assert caplog.text == ""

    def test_a_ledger_that_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.jsonl"
        path.mkdir()
        with pytest.raises(StorageError, match="cannot read the ledger"):
            Ledger(path).entries()
        if hasattr(os, "mkfifo"):
            path.rmdir()
            os.mkfifo(path)
            with pytest.raises(SubmissionError, match="is no ledger: it is a pipe"):
                Ledger(path).entries()

    def test_a_ledger_that_is_a_link_is_not_written_through(self, tmp_path: Path) -> None:
        (tmp_path / "other").write_bytes(b"")
        (tmp_path / "ledger.jsonl").symlink_to(tmp_path / "other")
        with pytest.raises(StorageError, match="nothing is written through links"):
            Ledger(tmp_path / "ledger.jsonl").record_written(csv(tmp_path), HCD.slug, ORIGIN)
        assert (tmp_path / "other").read_bytes() == b""

    def test_an_intent_is_on_disk_before_it_returns(self, tmp_path: Path) -> None:
        made = csv(tmp_path)
        name = Ledger(tmp_path / "ledger.jsonl").record_intent(made, HCD.slug, message="")
        entry = Ledger(tmp_path / "ledger.jsonl").already_sent(made.sha256, HCD.slug)
        assert entry is not None
        assert (entry.id, entry.status, entry.ref, entry.runs) == (name, "unknown", None, [])

    def test_what_looked_like_it_before_is_kept_and_need_not_be_there(self, tmp_path: Path) -> None:
        path, made = tmp_path / "ledger.jsonl", csv(tmp_path)
        Ledger(path).record_intent(made, HCD.slug, message="", alike={43, 41}, again=True)
        Ledger(path).record_intent(made, HCD.slug, message="", alike=())
        old = json.loads(path.read_text(encoding="utf-8").splitlines()[0]) | {"id": "0"}
        del old["alike"], old["again"]  # as earlier versions wrote it
        path.write_text(path.read_text(encoding="utf-8") + json.dumps(old) + "\n", encoding="utf-8")
        told = [(entry.alike, entry.again, entry.is_lost) for entry in Ledger(path).entries()]
        assert told == [([41, 43], True, True), ([], False, True), (None, False, True)]

    def test_a_csv_and_the_same_one_packed_are_the_same_predictions(self, tmp_path: Path) -> None:
        ledger, plain = Ledger(tmp_path / "ledger.jsonl"), csv(tmp_path)
        ledger.record_written(plain, HCD.slug, ORIGIN)
        path = tmp_path / "a.csv.gz"
        path.write_bytes(gzip.compress(plain.path.read_bytes()))
        sent = check_csv(path, HCD, IDS)
        ledger.record_sent(ledger.record_intent(sent, HCD.slug, message=""), 7)
        (entry,) = Ledger(tmp_path / "ledger.jsonl").entries()
        assert (entry.runs, entry.file_name, entry.sha256) == (
            ["run-1", "run-2"],
            "a.csv.gz",
            sent.sha256,
        )
        for sha256 in (plain.sha256, sent.sha256):
            found = ledger.already_sent(sha256, HCD.slug)
            assert found is not None
            assert found.ref == 7

    def test_the_gap_is_there_where_both_scores_are(self) -> None:
        entry = Entry(valid_score=0.9123, public_score=0.89111)
        assert entry.gap == -0.02119
        assert Entry(valid_score=0.9, public_score=0.0).gap == -0.9
        assert (Entry(valid_score=0.9).gap, Entry(public_score=0.9).gap) == (None, None)

    def test_what_counts_as_sent(self, tmp_path: Path) -> None:
        ledger, made = Ledger(tmp_path / "ledger.jsonl"), csv(tmp_path)
        first = ledger.record_intent(made, HCD.slug, message="")
        ledger.record_failed(first, "no network")
        assert ledger.already_sent(made.sha256, HCD.slug) is None
        assert ledger.entries()[0].error == "no network"
        second = ledger.record_intent(made, HCD.slug, message="")
        ledger.record_sent(second, 7)
        for sha256, competition, expected in (
            (made.sha256, HCD.slug, second),
            (made.sha256, LAB.slug, None),
            ("0" * 64, HCD.slug, None),
        ):
            found = ledger.already_sent(sha256, competition)
            assert (found.id if found is not None else None) == expected
        ledger.record_failed(
            second, "could not ask for the score"
        )  # Kaggle numbered it, so it was sent
        assert ledger.entries()[1].status == "pending"
        ledger.record_scored(second, "error", error="bad file")
        found = ledger.already_sent(made.sha256, HCD.slug)
        assert found is not None
        assert (found.status, found.error) == ("error", "bad file")

    def test_sent_twice_is_two_entries_and_the_newest_csv_is_found(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path / "ledger.jsonl")
        a, b = csv(tmp_path), csv(tmp_path, "b.csv", 1)
        ledger.record_written(a, HCD.slug, ORIGIN)
        ids = [ledger.record_intent(a, HCD.slug, message="") for _ in range(2)]
        ledger.record_written(b, LAB.slug, Origin())
        assert [(entry.id, entry.status) for entry in ledger.entries()] == [
            (ids[0], "sending"),
            (ids[1], "sending"),
            (None, "written"),
        ]
        assert [entry.runs for entry in ledger.entries()] == [ORIGIN.runs, ORIGIN.runs, []]
        newest = {name: ledger.newest(name) for name in (None, HCD.slug, "other")}
        assert [entry and entry.csv for entry in newest.values()] == [
            str(b.path),
            str(a.path),
            None,
        ]
        moved = csv(tmp_path, "c.csv")  # the bytes of a.csv again, under another name
        assert moved.sha256 == a.sha256
        ledger.record_written(moved, HCD.slug, ORIGIN)
        found = ledger.newest()
        assert found is not None
        assert (found.csv, found.id) == (str(moved.path), ids[1])
        assert len(ledger.entries()) == 3

    def test_the_folder_can_be_moved_and_holds_no_machine_paths(self, tmp_path: Path) -> None:
        (tmp_path / "old").mkdir()
        Ledger(tmp_path / "old" / "ledger.jsonl").record_written(
            csv(tmp_path / "old"), HCD.slug, ORIGIN
        )
        (tmp_path / "old").rename(tmp_path / "new")
        assert str(tmp_path) not in (tmp_path / "new" / "ledger.jsonl").read_text(encoding="utf-8")
        entry = Ledger(tmp_path / "new" / "ledger.jsonl").newest()
        assert entry is not None
        assert Path(entry.csv).is_file()
        Ledger(tmp_path / "new" / "ledger.jsonl").record_written(
            csv(tmp_path, "outside.csv", 3), HCD.slug, ORIGIN
        )
        assert [entry.csv for entry in Ledger(tmp_path / "new" / "ledger.jsonl").entries()][
            1
        ] == str(tmp_path / "outside.csv")

    def test_half_a_line_and_strange_lines_are_passed_over(self, tmp_path: Path) -> None:
        path, made = tmp_path / "ledger.jsonl", csv(tmp_path)
        ledger = Ledger(path)
        ledger.record_written(made, HCD.slug, ORIGIN)
        with path.open("ab") as handle:
            handle.write(
                b'[1]\n\xff\xfe\n\n{"event": "sent"}\n{"schema_version": 1, "event": '
                b'"later"}\n{"schema_version": 1, "event": "int'
            )
        name = ledger.record_intent(made, HCD.slug, message="")
        ledger.record_sent(name, 5)
        assert [(entry.id, entry.ref) for entry in Ledger(path).entries()] == [(name, 5)]

    def test_a_newer_schema_is_refused_not_misread(self, tmp_path: Path) -> None:
        path = tmp_path / "ledger.jsonl"
        path.write_text('{"schema_version": 2, "event": "written"}\n', encoding="utf-8")
        for read in (Ledger(path).entries, Ledger(path).newest):
            with pytest.raises(
                SubmissionError, match=r"newer pcam-kit \(schema 2, this one knows 1"
            ) as caught:
                read()
            assert "--submissions-dir" in caught.value.hint

    def test_results_need_a_submission_and_a_number(self, tmp_path: Path) -> None:
        ledger, made = Ledger(tmp_path / "ledger.jsonl"), csv(tmp_path)
        with pytest.raises(SubmissionError, match="holds no submission 'x'"):
            ledger.record_scored("x", "complete", 0.5)
        name = ledger.record_intent(made, HCD.slug, message="")
        with pytest.raises(SubmissionError, match="no submission number"):
            ledger.record_sent(name, 0)
        assert Ledger(ledger.path).entries()[0].status == "unknown"

    def test_a_ledger_that_cannot_be_read_or_written(self, tmp_path: Path) -> None:
        ledger = Ledger(tmp_path)
        with pytest.raises(StorageError, match="cannot read the ledger"):
            ledger.entries()
        with pytest.raises(StorageError, match="cannot write"):
            ledger.record_written(csv(tmp_path), HCD.slug, ORIGIN)
