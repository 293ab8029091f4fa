"""YAML and --set from anybody: plain values within limits, or one ConfigError with the place."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from pcam_kit.competitions import find_competition, read_profile
from pcam_kit.config.catalog import header_of, read_all
from pcam_kit.config.load import (
    apply_overrides,
    dump_yaml,
    import_object,
    load_experiment,
    read_yaml,
    read_yaml_file,
)
from pcam_kit.config.plain import CHARACTERS, VALUES, read_plain
from pcam_kit.errors import ConfigError

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


def mapping_bomb() -> str:
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{i}: &a{i} {{l: *a{i - 1}, r: *a{i - 1}}}" for i in range(1, 30)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing", None),
        ("1e-3", 1e-3),
        ("-7", -7),
        ("0x10", 16),
        ("true", True),
        ("yes", "yes"),
        ("null", None),
        ("~", None),
        ("2024-01-01", "2024-01-01"),
        ("!!str 3", "3"),
        ("!!float 3", 3.0),
        ("[1, two, [3.5]]", [1, "two", [3.5]]),
        ("{a: {b: null}}", {"a": {"b": None}}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ('"Köln \\U0001F52C"', "Köln 🔬"),
    ],
)
def test_plain_values(text: str, value: Any) -> None:
    assert read_plain(text, "here") == value


HOSTILE = {
    "lists of lists": ("[" * 500, "not valid YAML|nested"),
    "braces": ("{" * 500, "not valid YAML|nested"),
    "dashes": ("- " * 500 + "1", "not valid YAML|nested"),
    "question marks": ("? " * 500 + "1", "not valid YAML|nested"),
    "a bomb of lists": (BOMB, rf"aliases stand for more than {VALUES:,} values"),
    "a bomb of mappings": (mapping_bomb(), "aliases stand for more than|nested"),
    "a list in itself": ("a: &x [*x]", "line 1: .*contains itself"),
    "a mapping in itself": ("a: &x {b: *x}", "line 1: .*contains itself"),
    "no such anchor": ("a: *x", "not valid YAML"),
    "no number": ("a: 1\nb: !!int abc", "line 2: expected int, found 'abc'"),
    "no truth": ("a: !!bool abc", "line 1: expected bool"),
    "no fraction": ("a: !!float 1.2.3", "line 1: expected float"),
    "5,000 digits": ("a: " + "1" * 5000, "line 1: expected a number, found 5,000 characters"),
    "bytes": ("a: !!binary aGVsbG8=", "line 1: expected a plain value, found the tag '!!binary'"),
    "a set": ("a: !!set {x, y}", "the tag '!!set'"),
    "an ordered mapping": ("a: !!omap [x: 1]", "the tag '!!omap'"),
    "python": ("a: !!python/object/apply:os.system ['true']", "the tag '!!python"),
    "a tag of its own": ("a: !mine 1", "the tag '!mine'"),
    "a list as mapping": ("a: !!map [1]", "the tag|not valid"),
    "a number as key": ("a: 1\n2: x", "line 2: expected a name before the colon, found 2"),
    "null as key": ("null: x", "expected a name before the colon, found None"),
    "a list as key": ("[a, b]: x", "expected a name before the colon"),
    "a mapping as key": ("{a: b}: x", "expected a name before the colon"),
    "twice": ("a: 1\nb: 2\na: 3", "line 3: the key 'a' stands there a second time"),
    "twice deeper": ("a: {b: 1, b: 1}", "the key 'b' stands there a second time"),
    "zero": ('a: "x\\0y"', r"line 1: there is a control character in 'x\\x00y'"),
    "escape": ('a: "\\e[31m"', "line 1: there is a control character"),
    "half a character": ('a: "\\ud800"', "control character|not valid YAML"),
    "right to left": ('a: "\\u202e"', "control character"),
    "raw control character": ("a: \x01", "not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2", "not valid YAML"),
    "two empty documents": ("---\n---\n", "not valid YAML"),
    "a version": ("%YAML 9.9\n---\na: 1", "not valid YAML"),
    "merge of a number": ("a: {<<: 1}", "expected a mapping after <<"),
    "long": ("a: " + "x" * CHARACTERS, r"expected at most 65,536"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_plain_value_is_refused_with_its_place(name: str) -> None:
    text, words = HOSTILE[name]
    began = time.monotonic()
    with pytest.raises(ConfigError, match=f"(?s)here.*({words})") as caught:
        read_plain(text, "here")
    assert time.monotonic() - began < 10
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 500
    with pytest.raises(ConfigError, match=r"^--set"):
        apply_overrides({}, [f"seed={text}"])


def test_a_mark_at_the_beginning_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "notepad.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 1\r\n")
    assert read_yaml_file(path) == {"seed": 1}


MODEL = "model: {name: lab_cnn}\n"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.batch_size=1000000000000", "training.batch_size: .*65536"),
        ("training.epochs=1000000000000000000", "training.epochs: .*100000"),
        ("training.epochs=" + "9" * 90, "training.epochs"),
        ("training.learning_rate=.nan", "training.learning_rate: .*finite"),
        ("training.learning_rate=1e300", "training.learning_rate"),
        ("training.learning_rate=" + "9" * 99, "training.learning_rate"),
        (f"model.filters=[{'4, ' * 4000}4]", "model.filters: .*16 items"),
        ("model.filters=[0]", "model.filters.0: .*greater than 0"),
        ("model.filters=[1000000]", "model.filters.0"),
        ("model.units=10000000000", "model.units"),
        ("data.crop=100000000", "data.crop"),
        ("data.fold={index: 1, of: 1000000000}", "data.fold.of"),
        ("seed=99999999999", "seed"),
        ("seed=2024-01-01", "seed: .*integer, found '2024-01-01'"),
        ("name=" + "a" * 300, "name: .*100 characters"),
        ("augment.transforms=[{name: Resize, options: {height: 40000, width: 40000}}]", "4,096"),
        ("augment.transforms=[{name: Pad, options: {padding: [0, 99999]}}]", "padding: .*4,096"),
        ("augment.transforms=[{name: RandomScale, options: {scale_limit: 1000}}]", "scale_limit"),
        ("augment.transforms=[{name: Blur, options: {x: .inf}}]", "x: expected a number"),
        ("training.nothing\x1b[31m=1", r"nothing\\x1b"),
        ("a." * 1000 + "b=1", "at most 32 parts"),
        (f"model={{name: {'x' * 5000}}}", "model.name: expected one of"),
    ],
)
def test_absurd_values_are_refused_by_the_schema(tmp_path: Path, override: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MODEL, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"(?s){words}") as caught:
        load_experiment(str(path), [override])
    assert len(caught.value.message) < 3000
    assert caught.value.message.replace("\n", "").isprintable()


def test_many_faults_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MODEL + "".join(f"k{i}: 1\n" for i in range(500)), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"(?s)500 faults.*and 480 more"):
        load_experiment(str(path))


def test_a_date_may_be_a_name_and_is_written_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"name: 2024-01-01\n{MODEL}", encoding="utf-8")
    experiment = load_experiment(str(path))
    assert experiment.name == "2024-01-01"
    path.write_text(dump_yaml(experiment), encoding="utf-8")
    assert load_experiment(str(path)) == experiment


def test_paths_that_are_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "text.txt").write_text(MODEL, encoding="utf-8")
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)))
    (tmp_path / "empty.yaml").write_bytes(b"")
    with open(tmp_path / "large.yaml", "wb") as handle:
        handle.truncate(1 << 30)
    cases = {
        "folder": "'folder' is a folder: expected a file whose name ends with .yaml",
        "folder.yaml": "cannot read folder.yaml: is a directory",
        "text.txt": "'text.txt' is a file: expected",
        "binary.yaml": "binary.yaml is not UTF-8 text: byte 128",
        "empty.yaml": "expected a mapping",
        "large.yaml": "cannot read large.yaml: it has more than",
        "": "no config called ''",
        "x" * 5000: "no config called",
        "a\0b": r"no config called 'a\\x00b'",
    }
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.yaml")
        os.mkfifo(tmp_path / "pipe")
        cases["pipe.yaml"] = "cannot read pipe.yaml: it is a pipe"
        cases["pipe"] = "'pipe' is a pipe"
    for name, words in cases.items():
        began = time.monotonic()
        with pytest.raises(ConfigError, match=words):
            load_experiment(name)
        assert time.monotonic() - began < 5


def test_modules_of_the_user_may_fail_in_any_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_one.py").write_text("def (:\n", encoding="utf-8")
    (tmp_path / "broken_two.py").write_text("1 / 0\n", encoding="utf-8")
    for reference in ("broken_one:f", "broken_two:f", ".x:f", "a\0b:f", "os:nothing", "x y:z"):
        with pytest.raises(ConfigError, match=r"augment\.custom: cannot import"):
            import_object(reference, "augment.custom")


PROFILE = """\
slug: mine
title: Mine
layout: synthetic
image_size: 32
target_column: class
target: class
metric: accuracy
counts: {train: 300, valid: 100, test: 60}
default_config: demo
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("slug: mine", "slug: ../mine", "slug"),
        ("slug: mine", 'slug: "mi\\nne"', "slug"),
        ("slug: mine", "slug: a/b", "slug"),
        ("slug: mine", "slug: nul", "device"),
        ("slug: mine", "slug: " + "a" * 300, "slug"),
        ("title: Mine", 'title: "\\e[2J"', "control character"),
        ("title: Mine", 'title: "two\\nlines"', "title: expected one line"),
        ("target_column: class", 'target_column: "a\\nb"', "target_column: expected one line"),
        ("target_column: class", "target_column: id", "different names"),
        ("image_size: 32", "image_size: 1000000000", "image_size"),
        ("image_size: 32", "image_size: .nan", "image_size"),
        ("train: 300", "train: 1000000000000", "counts.train"),
        ("train: 300", "train: -1", "counts.train"),
        ("layout: synthetic", "layout: ../x", "layout"),
    ],
)
def test_profiles_that_cannot_be_used(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(PROFILE.replace(old, new), encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        read_profile(path)
    assert "pcam train" not in caught.value.hint


def test_a_faulty_profile_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "configs" / "competitions"
    folder.mkdir(parents=True)
    (folder / "aaa.yaml").write_text("slug: [\n", encoding="utf-8")
    (folder / "mine.yaml").write_text(PROFILE + "aliases: [very-mine]\n", encoding="utf-8")
    assert find_competition("very-mine").slug == "mine"
    with pytest.raises(ConfigError, match=r"(?s)'nothing'.*cannot be read:.*aaa\.yaml"):
        find_competition("nothing")


def test_a_yaml_file_is_a_mapping() -> None:
    with pytest.raises(ConfigError, match="expected a mapping"):
        read_yaml("- 1", "here")


def test_a_faulty_config_does_not_break_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shipped = load_experiment("demo")
    names = [header.name for header, _ in read_all()]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "aaa.yaml").write_bytes(b"\xff")
    (tmp_path / "configs" / "demo.yaml").write_text("model: [\n", encoding="utf-8")
    (tmp_path / "configs" / "mine.yaml").write_text(MODEL, encoding="utf-8")
    with caplog.at_level("WARNING", logger="pcam_kit"):
        assert [header.name for header, _ in read_all()] == sorted({*names, "mine"} - {"demo"})
    assert len(caplog.records) == 2
    assert header_of(shipped) is None
