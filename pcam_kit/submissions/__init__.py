"""Submissions: the CSV (`csv_file`), and the record of what was sent (`ledger`)."""

from pcam_kit.submissions.csv_file import CheckedCsv, check_csv, write_csv
from pcam_kit.submissions.entry import Entry, Origin, SubmissionStatus, best_first
from pcam_kit.submissions.ledger import Ledger
from pcam_kit.submissions.packed import read_csv_file

__all__ = [
    "CheckedCsv",
    "Entry",
    "Ledger",
    "Origin",
    "SubmissionStatus",
    "best_first",
    "check_csv",
    "read_csv_file",
    "write_csv",
]
