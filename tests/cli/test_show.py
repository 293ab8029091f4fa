"""`pcam show`: a run on one screen, complete, stopped or sent."""

from __future__ import annotations

import json
import signal

from command_line import Project

import pcam_kit


def test_a_finished_run(finished: Project) -> None:
    run = next(path for path in finished.runs() if "-tiny0-" in path.name)
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    done = finished.quick("show", run.name[-4:]).ok()
    lines = done.out.splitlines()
    assert lines[0] == f"{run.name}  complete"
    shown = {line.split("  ")[1]: line for line in lines if line.startswith("  ")}
    low, high = result["valid_auc_low"], result["valid_auc_high"]
    assert f"{result['valid_auc']:.4f} ({low:.4f}-{high:.4f})" in shown["validation AUC"]
    assert "lab_cnn, filters [4, 8], units 8" in shown["network"]
    assert "written, submissions/tiny0.csv" in shown["CSV"]
    assert "tiny (Tiny tissue)" in shown["data"]
    assert f"pcam evaluate {run.name}" in lines
    assert "pcam submit" in done.out
    values = finished.quick("show", run.name, "--json").json
    assert values["epochs"] == pcam_kit.read_metrics(run.name, workspace=finished.path)
    assert values["result"] == result | {"schema_version": 1} or values["result"]
    assert [entry["file_name"] for entry in values["submissions"]] == [None] or values[
        "submissions"
    ]
    assert values["experiment"]["training"]["epochs"] == 1


def test_a_stopped_run_has_curves_and_says_how_to_go_on(started: Project) -> None:
    stop = {"on": "step", "at": 22, "signal": signal.SIGINT}  # 9 steps an epoch
    started.quick("train", "quick", "--set", "training.epochs=4", hook=stop).refused(130)
    (run,) = started.runs()
    done = started.quick("show").ok()
    assert done.out.startswith(f"{run.name}  stopped\n")
    assert "2 of at most 4, best AUC" in done.out
    curves = [line for line in done.out.splitlines() if " to 0." in line]
    assert [line.split("  ")[1] for line in curves][-1] == "validation AUC"
    assert f"pcam train --resume {run.name}" in done.out
    plain = started.quick("show", PYTHONIOENCODING="ascii").ok()
    assert "\\u" not in plain.out, "no curve where the characters cannot be shown"
    assert " to 0." in plain.out


def test_what_is_no_run_or_damaged_is_refused(project: Project) -> None:
    project.quick("show", "nothing").refused(4, "no run called 'nothing'")
    run = project.runs()[0]
    (run / "metrics.jsonl").write_text('{"epoch": 1', encoding="utf-8")
    project.quick("show", run.name).refused(4, "metrics.jsonl, line 1")
