"""`pcam`, also `python -m pcam_kit`: runs the command line; every error a user can meet ends here,
in one place.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from pcam_kit.cli import app
from pcam_kit.errors import Interrupted, PcamError

STOPPED = Interrupted("stopped; what was finished is kept", hint="run the same command again")


def with_resume_value(arguments: list[str]) -> list[str]:
    """`--resume` without a value becomes `--resume=`: Typer has no optional values."""
    result: list[str] = []
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        result.append(
            "--resume=" if argument == "--resume" and following.startswith("-") else argument
        )
    return result


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every error a user can meet ends here, in one place."""
    given = with_resume_value(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    for stream in (sys.stdout, sys.stderr):  # others' words may hold what the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app(args=given, prog_name="pcam", standalone_mode=True)
        finally:
            if sys.stdout is not None:  # as after a shell's `>&-`
                sys.stdout.flush()  # here, where a closed pipe can still be dealt with
    except PcamError as error:
        if debug:
            raise
        _fail(error)
    except KeyboardInterrupt:
        if debug:
            raise
        _fail(STOPPED)
    except SystemExit as stop:
        if stop.code == Interrupted.exit_code:  # Typer has turned a Ctrl-C into it, without a word
            _fail(STOPPED)
        raise
    except BrokenPipeError:  # e.g. `pcam runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        from pcam_kit.files import storage_error

        _fail(
            storage_error(error, Path(error.filename or "?"), "use")
            if error.errno
            else PcamError(str(error))
        )
    except MemoryError:
        if debug:
            raise
        _fail(PcamError("out of memory", hint="try a smaller --set training.batch_size=..."))


def _fail(error: PcamError) -> None:
    if sys.stderr is not None:  # print(file=None) would print on stdout
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  -> {error.hint}", file=sys.stderr)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
