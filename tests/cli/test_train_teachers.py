"""`pcam train` with `training.teachers`: teachers first, stopped and resumed, used again, and
learnt from.
"""

from __future__ import annotations

import json
import signal

import pytest
from command_line import Project

TAUGHT = "training.teachers={configs: [quick, other], weight: 0.9}"


@pytest.mark.slow
def test_teachers_first_then_the_network_that_learns_from_them(started: Project) -> None:
    quick = (started.path / "configs" / "quick.yaml").read_text(encoding="utf-8")
    (started.path / "configs" / "other.yaml").write_text(quick + "\n", encoding="utf-8")
    command = ("train", "quick", "--set", TAUGHT, "--set", "name=taught", "--seed", "3")
    stopped = started.quick(*command, hook={"on": "step", "at": 14, "signal": signal.SIGINT})
    assert stopped.code == 130
    assert "1 of 2 teachers done; the same command resumes" in stopped.err
    assert len(started.runs()) == 2

    done = started.quick(*command, "--json")
    first, second, taught = started.runs()
    assert done.json["run"].endswith(taught.name)
    assert "is there already" in done.err
    assert "resuming" in done.err
    assert (
        "taught learns from 2 others, trained first; without that: --set training.teachers=null"
        in done.err
    )
    assert "with its teachers" in done.err
    meta = json.loads((taught / "meta.json").read_text(encoding="utf-8"))
    assert [teacher["run"] for teacher in meta["teachers"]] == [first.name, second.name]
    assert all((path / "predictions" / "train.npz").is_file() for path in (first, second))
    losses = [
        [
            json.loads(line)["loss"]
            for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for path in (first, taught)
    ]
    assert losses[0] != losses[1], (
        "the same network, seed and patches: what differs is what it is to say"
    )

    started.quick(*command, "--seeds", "2").ok()
    assert len(started.runs()) == 6, "the first seed was there, the second has teachers of its own"


def test_a_fault_of_the_last_teacher_is_told_before_the_first_is_trained(started: Project) -> None:
    (started.path / "configs" / "large.yaml").write_text(
        "data: {crop: 64}\nmodel: {name: lab_cnn}\n", encoding="utf-8"
    )
    done = started.quick("train", "quick", "--set", "training.teachers={configs: [quick, large]}")
    done.refused(2, "data.crop: 64 is larger than the patches")
    assert started.runs() == []
