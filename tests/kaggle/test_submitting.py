"""Submitting and polling through the real client, in good and in bad weather: sent once, found
again, never taken for another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from loopback import Loopback

from pcam_kit.downloads import retry
from pcam_kit.errors import (
    AccessError,
    KaggleError,
    OutcomeUnknownError,
    SubmissionError,
    TransferError,
)
from pcam_kit.files import sha256_file
from pcam_kit.kaggle_client import (
    Limits,
    LostSubmission,
    find_submission,
    get_submission,
    matching_submissions,
    submission_limits,
    submit_upload,
    submitting,
    upload_csv,
)

WriteCsv = Callable[..., Path]
SLUG = "tiny-tissue"


@pytest.fixture
def served(kaggle: Loopback, folder: Path, solution: Path) -> Loopback:
    kaggle.serve(SLUG, folder, solution, "accuracy")
    return kaggle


def send(csv: Path, message: str) -> int:
    """As `pcam submit` does it."""
    earlier = matching_submissions(SLUG, csv.name, message)
    return submit_upload(upload_csv(SLUG, csv, sha256_file(csv)), message, earlier=earlier)


def test_a_submission_is_uploaded_scored_and_read_back(
    served: Loopback, write_csv: WriteCsv
) -> None:
    path = write_csv(wrong=10)
    assert matching_submissions(SLUG, path.name, "first try") == set()
    ref = send(path, "first try")
    upload = served.seen("upload")[0]
    assert (upload.method, upload.body) == ("PUT", path.read_bytes())
    assert "authorization" not in upload.headers
    assert served.seen("StartSubmissionUpload")[0].json["lastModifiedEpochSeconds"] == int(
        path.stat().st_mtime
    )
    assert served.seen("CreateSubmission")[0].json["submissionDescription"] == "first try"
    pending, complete = get_submission(ref), get_submission(ref)
    assert (pending.ref, pending.status, pending.public_score, pending.private_score) == (
        ref,
        "pending",
        None,
        None,
    )
    assert (complete.ref, complete.status, complete.public_score, complete.private_score) == (
        ref,
        "complete",
        0.75,
        0.75,
    )
    assert submission_limits(SLUG) == Limits(today=1, allowed_now=4, total=1)
    assert matching_submissions(SLUG, path.name, "first try") == {ref}
    assert matching_submissions(SLUG, path.name, "second try") == set()


def test_auc_is_scored_with_ties(
    kaggle: Loopback, folder: Path, solution: Path, tmp_path: Path
) -> None:
    kaggle.serve(SLUG, folder, solution, "roc_auc", pending_polls=0)
    path = tmp_path / "half.csv"
    path.write_text(
        "id,label\n" + "".join(f"p{i},{0.5 if i < 20 else i % 2}\n" for i in range(40)),
        encoding="utf-8",
    )
    # pairs: 10x10 undecided, 2x100 of a half against a certain one right, 10x10 certain right: (50
    # + 300) / 400
    assert get_submission(send(path, "")).public_score == 0.875


@pytest.mark.parametrize(
    ("how", "words"), [({"header": "id,class"}, "columns id,label"), ({"rows": 39}, "must match")]
)
def test_a_submission_that_cannot_be_scored_tells_why(
    served: Loopback, write_csv: WriteCsv, how: dict[str, object], words: str
) -> None:
    ref = send(write_csv(**how), "bad")
    get_submission(ref)
    submission = get_submission(ref)
    assert (submission.status, submission.public_score) == ("error", None)
    assert words in submission.error


def test_the_upload_is_repeated_with_a_fresh_address(served: Loopback, write_csv: WriteCsv) -> None:
    served.fail("upload", status=503)
    served.fail("upload", reset=True)
    assert send(write_csv(), "patience") > 0
    assert len({seen.path for seen in served.seen("upload")}) == 3
    assert len(served.seen("CreateSubmission")) == 1


def test_an_upload_that_stays_refused_submits_nothing(
    served: Loopback, write_csv: WriteCsv
) -> None:
    served.fail("upload", status=403, times=99)
    with pytest.raises(
        TransferError, match=r"upload of submission\.csv was refused .*403.*nothing was submitted"
    ) as caught:
        send(write_csv(), "never")
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert served.seen("CreateSubmission") == []


def test_a_file_that_changed_after_it_was_checked_is_not_sent(
    served: Loopback, write_csv: WriteCsv
) -> None:
    checked = sha256_file(write_csv())
    with pytest.raises(SubmissionError, match="changed after it was checked"):
        upload_csv(SLUG, write_csv(wrong=1), checked)
    assert served.requests == []


UNREADABLE = b'{"ref": "soon"}'


@pytest.mark.parametrize(
    "fault",
    [{"lost": True}, {"late": 0.6}, {"patch": {"ref": "soon"}}, {"patch": {"ref": 0}}],
    ids=str,
)
def test_a_lost_answer_is_looked_up_and_not_sent_again(
    served: Loopback, write_csv: WriteCsv, fault: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is reset, or the answer is late, is of a form that this version cannot read,
    or holds no number.
    """
    monkeypatch.setattr("pcam_kit.downloads.http.READ_TIMEOUT", 0.3)
    first = send(write_csv(), "same words")
    served.fail("CreateSubmission", **fault)
    second = send(write_csv(), "same words")
    assert matching_submissions(SLUG, "submission.csv", "same words") == {first, second}
    assert first != second
    assert len(served.seen("CreateSubmission")) == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"reset": True},
        {"status": 500},
        {"status": 503},
        {"body": b"<html>", "content_type": "text/html"},
        {"body": UNREADABLE},
        {"body": b"{}"},
        {"zero_ref": True},
    ],
    ids=str,
)
def test_a_submission_that_did_not_arrive_is_not_sent_again_either(
    served: Loopback, write_csv: WriteCsv, fault: dict[str, object]
) -> None:
    served.fail("CreateSubmission", **fault)
    with pytest.raises(
        OutcomeUnknownError,
        match=r"submission.*submission\.csv .* the list of submissions does not show it",
    ) as caught:
        send(write_csv(), "gone")
    assert f"https://www.kaggle.com/competitions/{SLUG}/submissions" in caught.value.hint
    assert "asks Kaggle first, and does not send it a second time" in caught.value.hint
    assert len(served.seen("CreateSubmission")) == 1
    assert len(served.seen("ListSubmissions")) == 1 + submitting.LIST_ATTEMPTS


def test_a_submission_without_number_is_quoted(served: Loopback, write_csv: WriteCsv) -> None:
    served.fail("CreateSubmission", zero_ref=True)
    with pytest.raises(
        OutcomeUnknownError, match='no number; it said: "Could not submit to competition"'
    ):
        send(write_csv(), "zero")


def test_when_the_list_cannot_be_read_either_both_are_told(
    served: Loopback, write_csv: WriteCsv
) -> None:
    served.fail("CreateSubmission", lost=True)
    served.fail("ListSubmissions", skip=1, status=503, times=99)
    with pytest.raises(OutcomeUnknownError, match=r"was lost .*cannot be read either .*503"):
        send(write_csv(), "gone")
    assert len(served.seen("ListSubmissions")) == 1 + retry.ATTEMPTS, (
        "one look that is repeated, not several of them"
    )


@pytest.mark.parametrize(
    ("status", "kind"), [(400, KaggleError), (401, KaggleError), (403, AccessError)]
)
def test_a_submission_that_kaggle_refuses_is_known_not_to_have_arrived(
    served: Loopback, write_csv: WriteCsv, status: int, kind: type[KaggleError]
) -> None:
    served.fail("CreateSubmission", status=status, message="Not now")
    with pytest.raises(kind) as caught:
        send(write_csv(), "no")
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert len(served.seen("ListSubmissions")) == 2, "one look all the same"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 403, "body": b"<html>", "content_type": "text/html"},
        {"status": 407, "body": b""},
        {"status": 409, "message": "Again?"},
    ],
    ids=str,
)
def test_a_refusal_is_not_believed_when_the_submission_is_there(
    served: Loopback, write_csv: WriteCsv, fault: dict[str, object]
) -> None:
    """A gateway may answer for Kaggle, and Kaggle may answer twice."""
    served.fail("CreateSubmission", instead_status=True, **fault)
    ref = send(write_csv(), "mine")
    assert matching_submissions(SLUG, "submission.csv", "mine") == {ref}


def test_a_refusal_that_kaggle_did_not_say_leaves_the_outcome_open(
    served: Loopback, write_csv: WriteCsv
) -> None:
    served.fail("CreateSubmission", status=403, body=b"<html>", content_type="text/html")
    with pytest.raises(OutcomeUnknownError):
        send(write_csv(), "mine")


def test_the_list_may_lag(served: Loopback, write_csv: WriteCsv) -> None:
    empty = b'{"submissions": []}'
    served.fail("CreateSubmission", lost=True)
    served.fail("ListSubmissions", skip=1, times=2, body=empty)
    ref = send(write_csv(), "slow list")
    assert matching_submissions(SLUG, "submission.csv", "slow list") == {ref}
    lost = LostSubmission(SLUG, "submission.csv", "slow list", frozenset())
    served.fail("ListSubmissions", body=empty)
    assert find_submission(lost) is None
    served.fail("ListSubmissions", body=empty)
    assert find_submission(lost, attempts=2) == ref
    served.fail("ListSubmissions", body=empty)
    assert find_submission(lost, seconds=0.1) == ref


def test_what_is_found_again_was_not_there_before_is_unclaimed_and_the_same(
    served: Loopback, write_csv: WriteCsv
) -> None:
    refs = [send(write_csv(), "same words") for _ in range(3)]
    lost = LostSubmission(SLUG, "submission.csv", "same words", frozenset(refs[:1]))
    assert find_submission(lost) == refs[1], "the oldest of those that were not there before"
    assert find_submission(replace(lost, earlier=frozenset())) == refs[0]
    assert find_submission(replace(lost, earlier=frozenset(refs))) is None
    assert find_submission(replace(lost, claimed=frozenset(refs[1:2]))) == refs[2]
    assert find_submission(replace(lost, claimed=frozenset(refs))) is None
    assert find_submission(replace(lost, message=" same\nwords ")) == refs[1]
    assert find_submission(replace(lost, message="other words")) is None
    assert find_submission(replace(lost, file_name="other.csv")) is None
    assert find_submission(replace(lost, earlier=None)) == refs[2], (
        "a ledger of an earlier version: any could fit, so the newest"
    )


def test_what_the_list_leaves_out_contradicts_nothing(
    served: Loopback, write_csv: WriteCsv
) -> None:
    """Better to take a nameless submission for ours than to send ours twice."""
    before = send(write_csv(), "mine")
    lost = LostSubmission(SLUG, "submission.csv", "mine", frozenset({before}))
    nameless = {"ref": before + 1, "status": "COMPLETE", "date": "2024-01-02T03:04:05.678Z"}
    for told, found in (
        ({}, True),
        ({"fileName": "submission.csv"}, True),
        ({"fileName": "other.csv"}, False),
        ({"description": "x"}, False),
    ):
        served.fail("ListSubmissions", patch={"submissions": [nameless | told]})
        assert find_submission(lost) == (before + 1 if found else None), told


def test_a_long_message_may_have_been_cut_off(served: Loopback, write_csv: WriteCsv) -> None:
    message = "pcam-kit " + ", ".join(f"20261123T01{i:04d}-lab-d7fb" for i in range(12))
    ref = send(write_csv(), message[:250])
    assert find_submission(LostSubmission(SLUG, "submission.csv", message, frozenset())) == ref
    assert (
        find_submission(LostSubmission(SLUG, "submission.csv", message[::-1], frozenset())) is None
    )
    assert (
        find_submission(LostSubmission(SLUG, "submission.csv", message, frozenset({ref}))) is None
    )
    send(write_csv(), "pcam-kit")
    assert (
        find_submission(LostSubmission(SLUG, "submission.csv", message, frozenset({ref}))) is None
    ), "too short to be the rest of ours"
    whole = send(write_csv(), message)
    assert find_submission(LostSubmission(SLUG, "submission.csv", message, frozenset())) == whole, (
        "one with all of it goes first"
    )


def test_a_name_in_another_form_is_the_same(served: Loopback, write_csv: WriteCsv) -> None:
    ref = send(write_csv(), "mine")
    for name in ("Submission.csv", "submissions/submission.csv"):
        served.fail(
            "ListSubmissions",
            patch={
                "submissions": [
                    {"ref": ref, "status": "COMPLETE", "fileName": name, "description": "mine"}
                ]
            },
        )
        assert (
            find_submission(LostSubmission(SLUG, "submission.csv", "mine", frozenset())) == ref
        ), name


def test_another_size_is_another_submission(served: Loopback, write_csv: WriteCsv) -> None:
    path = write_csv()
    ref = send(path, "mine")
    lost = LostSubmission(SLUG, "submission.csv", "mine", frozenset(), size=path.stat().st_size)
    assert find_submission(lost) == ref
    assert find_submission(replace(lost, size=lost.size + 1)) is None


@pytest.mark.parametrize("body", [b'{"code": 503}', b'{"error": "x"}'])
def test_a_list_that_is_an_error_is_no_empty_list(
    served: Loopback, write_csv: WriteCsv, body: bytes
) -> None:
    ref = send(write_csv(), "mine")
    served.fail("ListSubmissions", body=body)
    assert matching_submissions(SLUG, "submission.csv", "mine") == {ref}


def test_every_page_of_the_list_is_read(served: Loopback, write_csv: WriteCsv) -> None:
    served.page_size = 2
    refs = [send(write_csv(), f"number {i}") for i in range(5)]
    assert matching_submissions(SLUG, "submission.csv", "number 0") == {refs[0]}
    assert (
        find_submission(LostSubmission(SLUG, "submission.csv", "number 0", frozenset())) == refs[0]
    )


def test_the_daily_limit(
    kaggle: Loopback, folder: Path, solution: Path, write_csv: WriteCsv
) -> None:
    kaggle.serve(SLUG, folder, solution, daily_limit=1)
    send(write_csv(), "one")
    with pytest.raises(KaggleError, match="daily Submission allowance") as caught:
        send(write_csv(), "two")
    assert "00:00 UTC" in caught.value.hint
    assert submission_limits(SLUG) == Limits(today=1, allowed_now=0, total=1)


@pytest.mark.parametrize("made", [0, 1])
def test_the_limits_with_a_kagglesdk_that_does_not_know_them(
    served: Loopback, write_csv: WriteCsv, monkeypatch: pytest.MonkeyPatch, made: int
) -> None:
    from kagglesdk.competitions.services.competition_api_service import CompetitionApiClient

    monkeypatch.delattr(CompetitionApiClient, "get_submission_limits", raising=False)
    for _ in range(made):
        send(write_csv(), "one")
    assert submission_limits(SLUG) == Limits(today=made, allowed_now=5 - made, total=made)
    assert served.seen("GetSubmissionLimits")[-1].json == {"competitionName": SLUG}


@pytest.mark.parametrize(
    ("status", "message", "says", "never"),
    [
        (400, "Submission not allowed: the file is too large", "gzip -k", "00:00 UTC"),
        (400, "Maximum file size is 100 MB for a submission", "gzip -k", "00:00 UTC"),
        (413, "", "gzip -k", "00:00 UTC"),
        (400, "Your team has used its daily Submission allowance (5) today", "00:00 UTC", "team:"),
        (400, "The total submission limit of 100 is reached", "none come back", "00:00 UTC"),
        (400, "Lifetime allowance of submissions used", "none come back", "00:00 UTC"),
        (400, "The competition has ended", "takes no submissions any more", "00:00 UTC"),
        (403, "The deadline has passed", "takes no submissions any more", "join"),
        (403, "Only accepts submissions from Notebooks", "notebooks on Kaggle only", "join"),
        (403, "You must accept this competition's rules", "/rules", "00:00 UTC"),
        (403, "Your team merge is pending", "/team", "00:00 UTC"),
        (403, "No", "join the competition", "00:00 UTC"),
    ],
)
def test_the_hint_of_a_refusal_is_about_its_cause(
    served: Loopback, write_csv: WriteCsv, status: int, message: str, says: str, never: str
) -> None:
    for what in ("StartSubmissionUpload", "CreateSubmission"):
        served.fail(what, status=status, message=message)
        with pytest.raises(KaggleError) as caught:
            send(write_csv(), "no")
        served.mend()
        if what == "StartSubmissionUpload" or message:  # the other is not Kaggle's word
            assert says in caught.value.hint
            assert never not in caught.value.hint


def test_an_upload_that_is_too_large_is_not_tried_again(
    served: Loopback, write_csv: WriteCsv
) -> None:
    served.fail("upload", status=413, times=99)
    with pytest.raises(TransferError, match=r"it is too large, .* bytes .*413") as caught:
        send(write_csv(), "never")
    assert "gzip -k" in caught.value.hint
    assert len(served.seen("upload")) == 1


def test_the_limit_on_all_submissions(served: Loopback) -> None:
    served.fail(
        "GetSubmissionLimits",
        patch={"numToday": 1, "numTotal": 100, "numAllowedNow": 0, "limitedByTotal": True},
    )
    assert submission_limits(SLUG) == Limits(1, 0, total=100, limited_by_total=True)


def test_a_csv_that_is_not_there(served: Loopback, tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="cannot read the submission"):
        upload_csv(SLUG, tmp_path / "none.csv", "")
    assert served.requests == []


@pytest.mark.parametrize("word", ["complete", "COMPLETE", "Complete"])
def test_a_status_in_any_case(served: Loopback, word: str) -> None:
    served.fail(
        "GetSubmission", body=b'{"ref": 7, "status": "%s", "publicScore": "0.5"}' % word.encode()
    )
    submission = get_submission(7)
    assert (submission.status, submission.public_score, submission.private_score) == (
        "complete",
        0.5,
        None,
    )


def test_an_unknown_status_is_an_error_that_names_it(served: Loopback) -> None:
    served.fail("GetSubmission", body=b'{"ref": 7, "status": "RESCORING"}')
    with pytest.raises(KaggleError, match="RESCORING"):
        get_submission(7)


def test_an_unknown_submission(served: Loopback) -> None:
    with pytest.raises(AccessError, match="does not know a submission 7"):
        get_submission(7)


def test_no_error_holds_a_secret(served: Loopback, write_csv: WriteCsv) -> None:
    texts: list[str] = []
    for what in ("upload", "CreateSubmission"):
        served.fail(what, reset=True, times=retry.ATTEMPTS)
        with pytest.raises(TransferError) as caught:
            send(write_csv(), "x")
        texts.append(f"{caught.value.message} {caught.value.hint}")
    assert not any(
        secret in text for text in texts for secret in ("secret", "0123456789abcdef", "ignature")
    ), texts
