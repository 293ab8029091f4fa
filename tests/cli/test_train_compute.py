"""`pcam train` on this machine: the precision it takes and says, and the devices it has."""

from __future__ import annotations

import json
import signal

from command_line import Project


def test_the_precision_is_said_and_kept_and_a_resume_keeps_it(started: Project) -> None:
    stop = {"on": "step", "at": 4, "signal": signal.SIGINT}
    stopped = started.quick("train", "quick", hook=stop)
    assert stopped.code == 130
    (run,) = started.runs()
    meta = json.loads((run / "meta.json").read_text(encoding="utf-8"))
    precision = meta["precision"]
    assert precision["asked"] == "auto"
    assert f"in {precision['used']} (auto: {precision['why']})" in stopped.err
    assert meta["devices"] == 1
    # as if begun on another kind of machine
    other = "float32" if precision["used"] == "bfloat16" else "bfloat16"
    meta["precision"] = {"asked": "auto"}
    (run / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    started.quick("train", "--resume").refused(4, "meta.json", "precision", "{'asked': 'auto'}")
    meta["precision"] = {"asked": "auto", "used": other, "why": "another machine"}
    (run / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    done = started.quick("train", "--resume").ok()
    assert f"in {other} (as it was begun)" in done.err
    assert (
        json.loads((run / "meta.json").read_text(encoding="utf-8"))["precision"]
        == meta["precision"]
    )


def test_a_run_of_a_pcam_without_auto_is_resumed_in_the_precision_of_its_config(
    started: Project,
) -> None:
    stop = {"on": "step", "at": 4, "signal": signal.SIGINT}
    assert started.quick("train", "quick", hook=stop).code == 130
    (run,) = started.runs()
    meta = json.loads((run / "meta.json").read_text(encoding="utf-8"))
    del meta["precision"], meta["devices"]
    (run / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    config = run / "config.yaml"
    config.write_text(
        config.read_text(encoding="utf-8").replace("precision: auto", "precision: float32"),
        encoding="utf-8",
    )
    done = started.quick("train", "--resume").ok()
    assert "in float32 (as it was begun)" in done.err


def test_a_precision_that_there_is_not(started: Project) -> None:
    done = started.quick("train", "quick", "--set", "training.precision=int8")
    done.refused(2, "training.precision", "'auto', 'float32', 'bfloat16' or 'float16'", "'int8'")
    assert started.runs() == []


def test_several_devices_on_tensorflow_name_the_way(started: Project) -> None:
    done = started.quick("train", "quick", "--devices", "2")
    done.refused(2, "--devices 2: Keras on tensorflow trains on one device", "KERAS_BACKEND=jax")
    assert started.runs() == []


def test_nodes_are_refused_where_they_cannot_be_shared(started: Project) -> None:
    nodes = ["--nodes", "2", "--node", "0", "--coordinator", "127.0.0.1:29500"]
    started.quick("train", "quick", *nodes).refused(
        2, "--nodes: Keras on tensorflow trains in one process", "KERAS_BACKEND=jax"
    )
    started.quick("train", "quick", *nodes, "--devices", "2").refused(2, "--devices and --nodes")
    started.quick("train", "quick", *nodes, "--seeds", "2").refused(2, "--nodes trains one run")
    started.quick("train", "best32", *nodes).refused(2, "made of several trainings")
    started.quick("train", "quick", "--node", "0").refused(2, "--nodes")
    assert started.runs() == []


def test_the_list_of_configs_has_the_time_to_expect(started: Project) -> None:
    done = started.quick("train", "--list", "--json")
    configs = {entry["config"]: entry for entry in done.json["configs"]}
    lab = configs["lab"]
    assert lab["valid_auc"] > 0.8
    assert lab["expected_seconds"] > 0
    assert lab["reference_seconds"] > 0
    assert configs["lab-gpu"]["expected_seconds"] is None
    table = started.quick("train", "--list").ok().out
    assert all(name in table for name in configs)
