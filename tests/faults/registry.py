"""All rows of the fault table, in its order."""

from __future__ import annotations

import rows_account
import rows_answers
import rows_archives
import rows_disk
import rows_downloads
import rows_submit

ROWS = [
    *rows_downloads.ROWS,
    *rows_answers.ROWS,
    *rows_archives.ROWS,
    *rows_disk.ROWS,
    *rows_submit.ROWS,
    *rows_account.ROWS,
]
