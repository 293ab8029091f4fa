"""Drives a row: the fault, then the same command without it; checks what must hold for every row,
and tells what was seen.
"""

from __future__ import annotations

from dataclasses import dataclass

from command_line import Done
from rows import Row
from world import LAB, ROUTINE, World

SCORE = "0.9"  # of the CSV that is submitted
ROUTINE_SUBMIT = (
    "mine.csv: ",
    "this CSV was not written by",
    "sent as submission",
    "waiting for its score",
    "submissions to ",
    "no submission to tiny-lab has",
)


@dataclass(frozen=True)
class Observed:
    """The cells of a row, but its first."""

    sees: str
    left: str
    again: str


def drive(row: Row, world: World, *, full: bool) -> Observed:
    """Raises AssertionError where the rule is broken: right bytes or a clear error, nothing lost,
    the next command succeeds.
    """
    world.set = row.set
    row.arrange(world)
    if row.play is not None:
        observed = Observed(*row.play(world, full))
        world.check_secrets()
        return observed
    args = command_of(row, world)
    before = world.finished()
    done = (
        world.run_alone(args, closed_stdin=row.closed_stdin)
        if row.real
        else world.run(args, row.hook)
    )
    check_end(row, done)
    world.check_secrets(done.out, done.err)
    check_kept(row, world, before, done)
    if done.code == 0:
        check_success(row, world, done)
    sees = told(row, world, done)
    left = world.record() if row.kind == "submit" else world.files(rough=row.rough)
    world.kaggle.mend()
    row.mend(world)
    already = world.whole_names() if world.slug == LAB else set()
    world.mark()
    again = world.run(args)
    world.check_secrets(again.out, again.err)
    if again.code == 0:
        assert not already & {
            str(request.json.get("fileName")) for request in world.seen("DownloadDataFile")
        }, "fetched a file twice"
        check_success(row, world, again)
    else:
        assert row.kind == "submit", f"the next identical command fails:\n{again.err}"
        again.refused(row.ends.again or 6)
        assert row.ends.again or (done.code == 0 and "--again" in again.err), (
            f"the next identical command fails:\n{again.err}"
        )
    if row.kind == "submit" and "may have been submitted" in again.err:
        assert len(world.submissions()) == row.before, "sent, although nobody said --again"
        world.run((*args, "--again")).ok()
    if row.kind == "submit":
        check_one_submission(row, world)
    return Observed(sees, left, told_again(row, world, again))


def command_of(row: Row, world: World) -> tuple[str, ...]:
    """The command, twice the same."""
    if row.kind == "submit":
        return ("submit", "mine.csv", "--competition", world.slug, *row.args)
    return ("fetch", world.slug, "--json", *row.args)


def check_end(row: Row, done: Done) -> None:
    """As the row says; an error is one clear line with a next step, and leaves stdout empty."""
    assert done.code == row.ends.code, (
        f"exit {done.code}, expected {row.ends.code}\n{done.out}{done.err}"
    )
    if done.code == 0:
        assert "Traceback" not in done.err
        return
    for word in row.ends.words:
        assert word in done.err, f"{word!r} is not in:\n{done.err}"
    if row.debug:
        return
    assert "Traceback" not in done.err, done.err
    lines = done.err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1, done.err
    assert [line for line in lines if line.startswith("  -> ")], f"no next step:\n{done.err}"
    assert done.out == "", "an error leaves stdout empty"


def check_kept(row: Row, world: World, before: dict[str, bytes], done: Done) -> None:
    """What was finished before is still there, byte for byte; a ledger may have grown."""
    after = world.finished()
    for name, data in before.items():
        if name == "submissions/ledger.jsonl":
            assert after[name].startswith(data), "the ledger lost lines"
        elif done.code != 0 or "/raw/" in name:
            assert after.get(name) == data, f"{name} was finished and is lost or changed"


def check_success(row: Row, world: World, done: Done) -> None:
    """exit 0 means right bytes, or the right score."""
    if row.kind != "submit":
        world.check_finished()
        assert done.json["fingerprint"]
    elif world.submissions() and "public score" in done.out:
        assert f"public score {SCORE}" in done.out


def check_one_submission(row: Row, world: World) -> None:
    """Whatever happened, the CSV was submitted exactly once, and the ledger knows its number."""
    assert len(world.submissions()) == 1 + row.before, (
        f"{len(world.submissions())} submissions at Kaggle"
    )
    assert f'"ref": {world.submissions()[-1]["ref"]}' in world.ledger.read_text(encoding="utf-8")


def told(row: Row, world: World, done: Done) -> str:
    """What a person sees: exit code and messages."""
    if row.debug:
        return f"exit {done.code}, with a traceback that holds no secret"
    routine = ROUTINE_SUBMIT if row.kind == "submit" else ROUTINE
    lines = [
        world.normal(line.strip())
        for line in done.err.splitlines()
        if line.strip() and not line.strip().startswith(routine)
    ]
    if row.kind == "submit":
        lines += [world.normal(line) for line in done.out.splitlines()]
    attempts = len(world.seen("DownloadDataFile", "DownloadDataFiles"))
    ended = f"exit {done.code}"
    if row.kind != "submit" and not row.fresh and done.code == 0 and attempts > 1:
        ended += f" at attempt {attempts}"
    return "<br>".join([ended, *lines])


def told_again(row: Row, world: World, done: Done) -> str:
    """How the same command ended without the fault."""
    if row.kind == "submit":
        error = next(
            (line for line in done.err.splitlines() if line.startswith("error: these bytes ")),
            "",
        )
        said = "these bytes were submitted already" if error else done.out.strip()
        if "may have been submitted" in error:
            said = "asks: these bytes may have been submitted; --again sends them"
        return "<br>".join([f"exit {done.code}", said, world.record()])
    asked = [request.headers.get("range", "") for request in world.seen("storage", "elsewhere")]
    how = "nothing left to download" if not asked else ""
    if asked and asked[0] and not row.rough:
        how = f"went on from byte {int(asked[0].removeprefix('bytes=').removesuffix('-')):,}"
    elif asked and asked[0]:
        how = "went on where it had stopped"
    return f"exit {done.code}" + (f", {how}" if how else "")
