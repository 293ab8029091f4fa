"""The other end of `command_line.Warm`: imports once, forks for each command. Run as a script.

Requests are JSON lines: {"args", "cwd", "env", "output", "hook"} answers with a process id, {"wait": id} with its exit code.
A hook {"on": "rename" | "step", "at": n, "signal": s} sends the child signal s just before its n-th rename of a file or folder
(the moment at which something written comes to be), or after its n-th training step.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve until stdin ends."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from pcam_kit.__main__ import main as pcam
    from pcam_kit.pipeline.augment import import_albumentations

    import_albumentations()

    answer("ready")
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer(os.waitstatus_to_exitcode(status))
            continue
        child = os.fork()
        if child == 0:
            run(pcam, request)
        answer(child)


def answer(value: Any) -> None:
    """One JSON line to the tests."""
    print(json.dumps(value), flush=True)


def run(command: Callable[[list[str]], None], request: dict[str, Any]) -> None:
    """Be `pcam` in the child; never returns."""
    code: object = 1
    try:
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        for number, name in ((0, os.devnull), (1, request["output"] + ".out"), (2, request["output"] + ".err")):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = ["pcam", *request["args"]]
        if request["hook"] is not None:
            install(request["hook"])
        command(request["args"])
        code = 0
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def install(hook: dict[str, Any]) -> None:
    """Send the signal at the point that the hook names."""
    count = 0

    def reached() -> bool:
        nonlocal count
        count += 1
        return count == hook["at"]

    if hook["on"] == "rename":
        for name in ("replace", "rename"):
            own = getattr(Path, name)

            def before(self: Path, target: Path, own: Any = own) -> Any:
                if reached():
                    os.kill(os.getpid(), hook["signal"])
                return own(self, target)

            setattr(Path, name, before)
    elif hook["on"] == "step":
        from pcam_kit.commands.console import TrainingDisplay

        own_step = TrainingDisplay.step

        def step(self: TrainingDisplay, epoch: int, step: int, loss: float) -> None:
            own_step(self, epoch, step, loss)
            if reached():
                os.kill(os.getpid(), hook["signal"])

        TrainingDisplay.step = step
    else:
        raise ValueError(f"no such hook: {hook}")


if __name__ == "__main__":
    main()
