"""`pcam`, also `python -m pcam_kit`: runs the command line and reports every error in one place."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from pcam_kit.cli.app import app
from pcam_kit.cli.console import show_messages
from pcam_kit.errors import Interrupted, PcamError
from pcam_kit.text import printable_lines

STOPPED = Interrupted("stopped; what was finished is kept", hint="run the same command again")


def with_resume_value(arguments: list[str]) -> list[str]:
    """`arguments`, where `--resume` without a value becomes `--resume=`.

    Typer has no options whose value may be left out.
    """
    result: list[str] = []
    for argument, following in pairwise([*arguments, "-"]):
        if argument == "--resume" and following.startswith("-"):
            argument = "--resume="
        result.append(argument)
    return result


def main(arguments: list[str] | None = None) -> None:
    """Run the command line with `arguments`, by default those of the process, and exit.

    An error ends as one line on stderr, a hint, and its exit code; with --debug as a traceback.
    """
    arguments = with_resume_value(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    _prepare_streams()
    show_messages()
    try:
        try:
            app(args=arguments, prog_name="pcam", standalone_mode=True)
        except SystemExit as stop:
            if not stop.code:
                _flush_mirrors()
            raise
        finally:
            if sys.stdout is not None:  # None after a shell's `>&-`
                sys.stdout.flush()  # a closed pipe must fail here, where it is handled
    except PcamError as error:
        if debug:
            raise
        _fail(error)
    except KeyboardInterrupt:
        if debug:
            raise
        _fail(STOPPED)
    except SystemExit as stop:
        if stop.code == Interrupted.exit_code:  # Typer turns Ctrl-C into this, without a message
            _fail(STOPPED)
        raise
    except BrokenPipeError:  # e.g. `pcam runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        _fail(_as_pcam_error(error))
    except ImportError as error:
        if debug:
            raise
        _fail(PcamError(f"a package cannot be imported: {error}", hint="see which: pcam doctor"))
    except MemoryError:
        if debug:
            raise
        hint = "try a smaller --set training.batch_size=..."
        if "fetch" in arguments:  # it trains nothing
            hint = "close other programs (notebooks keep what they loaded), then run it again"
        _fail(PcamError("out of memory", hint=hint))


def _flush_mirrors() -> None:
    """Upload what waits, where a folder is in storage. Raises RemoteError."""
    mirrors = sys.modules.get("pcam_kit.mirrors")  # else nothing has used it
    if mirrors is not None:
        mirrors.flush()


def _prepare_streams() -> None:
    """Nothing that is printed may fail, and data is the same on every system."""
    for stream in (sys.stdout, sys.stderr):
        # file names and server messages may hold characters that the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if os.name != "nt" or "PYTHONIOENCODING" in os.environ:
        return
    # Windows would write what goes into a file or a pipe as cp1252 with CRLF
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")


def _as_pcam_error(error: OSError) -> PcamError:
    from pcam_kit.files import storage_error

    if not error.errno:
        return PcamError(str(error))
    return storage_error(error, Path(error.filename or "?"), "use")


def _fail(error: PcamError) -> None:
    lines = [f"error: {error.message}"]
    if error.hint:
        lines.append(f"  -> {error.hint}")
    # print(file=None) would print on stdout; a terminal may be gone
    with suppress(OSError):
        if sys.stderr is not None:
            for line in lines:
                print(printable_lines(line), file=sys.stderr)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
