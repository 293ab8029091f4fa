"""Competitions are data: profiles found by slug, alias, URL or path."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcam_kit import competitions
from pcam_kit.config import load
from pcam_kit.errors import ConfigError

LAB = "tnm-112-lab-2-2024"
OWN = """\
slug: tnm-112-lab-2-2031
title: Another year
layout: lab_h5
image_size: 32
target_column: class
target: class
metric: accuracy
counts: {train: 10}
default_config: lab
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        LAB,
        "tnm112",
        "lab",
        "TNM112",
        f"  {LAB} ",
        f"https://www.kaggle.com/competitions/{LAB}",
        f"https://www.kaggle.com/competitions/{LAB}/",
        f"https://www.kaggle.com/competitions/{LAB}/data?select=train.h5",
        f"https://www.kaggle.com/c/{LAB}/overview",
        f"http://kaggle.com/c/{LAB}#evaluation",
        f"www.kaggle.com/competitions/{LAB}",
        f"kaggle.com/competitions/{LAB}",
    ],
)
def test_all_ways_to_say_it(name: str) -> None:
    assert competitions.find_competition(name).slug == LAB


def test_shipped_profiles_fit_their_file_names_and_each_other() -> None:
    profiles = [
        competitions.find_competition(slug) for slug in load.list_configs(kind="competitions")
    ]
    names = [name for profile in profiles for name in (profile.slug, *profile.aliases)]
    assert [profile.slug for profile in profiles] == load.list_configs(kind="competitions")
    assert len(names) == len(set(names)), "no name stands for two"
    for profile in profiles:
        assert profile.url == f"https://www.kaggle.com/competitions/{profile.slug}"
        assert profile.header == (profile.id_column, profile.target_column)
        assert (profile.target == "class") == (profile.metric == "accuracy")


def test_the_three_of_the_contract() -> None:
    lab, kaggle, pcam = (
        competitions.find_competition(name)
        for name in (LAB, "histopathologic-cancer-detection", "pcam")
    )
    assert (lab.layout, lab.header, lab.target, lab.metric, lab.image_size) == (
        "lab_h5",
        ("id", "class"),
        "class",
        "accuracy",
        32,
    )
    assert (kaggle.layout, kaggle.header, kaggle.target, kaggle.metric) == (
        "tif_folders",
        ("id", "label"),
        "probability",
        "roc_auc",
    )
    assert (pcam.layout, pcam.counts) == (
        "pcam_h5",
        {"train": 262144, "valid": 32768, "test": 32768},
    )


def test_another_year_is_a_yaml_file() -> None:
    Path("year.yaml").write_text(OWN, encoding="utf-8")
    assert competitions.find_competition("year.yaml").slug == "tnm-112-lab-2-2031"
    folder = Path("configs/competitions")
    folder.mkdir(parents=True)
    (folder / "tnm-112-lab-2-2031.yaml").write_text(OWN + "aliases: [lab31]\n", encoding="utf-8")
    for name in ("tnm-112-lab-2-2031", "lab31", "https://www.kaggle.com/c/tnm-112-lab-2-2031"):
        assert competitions.find_competition(name).title == "Another year"


def test_the_working_directory_comes_first() -> None:
    folder = Path("configs/competitions")
    folder.mkdir(parents=True)
    (folder / f"{LAB}.yaml").write_text(OWN.replace("tnm-112-lab-2-2031", LAB), encoding="utf-8")
    assert competitions.find_competition(LAB).title == "Another year"


def test_a_slug_that_windows_keeps_for_a_device() -> None:
    Path("aux.yaml").write_text(OWN.replace("tnm-112-lab-2-2031", "aux"), encoding="utf-8")
    with pytest.raises(ConfigError, match="device in Windows, found 'aux'"):
        competitions.find_competition("aux.yaml")


def test_unknown_slug_names_the_known_and_the_way() -> None:
    with pytest.raises(
        ConfigError, match="'tnm-112-lab-2-2025'; did you mean 'tnm-112-lab-2-2024'"
    ) as caught:
        competitions.find_competition("tnm-112-lab-2-2025")
    assert "configs/competitions/tnm-112-lab-2-2025.yaml" in caught.value.hint
    for slug in load.list_configs(kind="competitions"):
        assert slug in caught.value.hint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("layout: lab_h5", "layout: jpegs"), ("layout", "'lab_h5'", "found 'jpegs'")),
        (("slug: tnm", "slug: TNM/.."), ("slug", "found 'TNM/..-112-lab-2-2031'")),
        (("target_column: class\n", ""), ("target_column: missing",)),
        (("title", "titel"), ("titel: unknown key; did you mean 'title'?", "title: missing")),
        (("{train: 10}", "{training: 10}"), ("counts",)),
        (("image_size: 32", "image_size: 0"), ("image_size", "found 0")),
    ],
    ids=["layout", "slug", "missing", "misspelt", "split", "size"],
)
def test_faults_of_a_profile(change: tuple[str, str], words: tuple[str, ...]) -> None:
    Path("bad.yaml").write_text(OWN.replace(*change), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        competitions.find_competition("bad.yaml")
    for word in ("bad.yaml", *words):
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("https://a", "ftp://a"), ("mirrors", "expected https://HOST/...{name}...")),
        (("a.example", ""), ("mirrors", "expected https://HOST/...{name}...")),
        (("a.example", "[a"), ("mirrors", "found ['https://[a/{name}']")),
        (("{name}", "name"), ("mirrors", "expected https://HOST/...{name}...")),
        (("x.h5.gz", "../x.h5.gz"), ("name", "a path that leaves its folder")),
        (("Y.h5.gz", "X.h5.gz"), ("files", "two files have the same name")),
        (("0" * 32, "0" * 31 + "g"), ("md5",)),
        (("bytes: 10", "bytes: -1"), ("bytes", "found -1")),
    ],
    ids=["scheme", "host", "brackets", "name", "folder", "twice", "md5", "size"],
)
def test_faults_of_a_public_home(change: tuple[str, str], words: tuple[str, ...]) -> None:
    whole = f"""{OWN}public_files:
  page: https://a.example
  mirrors: ["https://a.example/{{name}}"]
  files: [{{name: x.h5.gz, md5: "{"0" * 32}", bytes: 10}}, {{name: Y.h5.gz, md5: "{"1" * 32}"}}]
"""
    Path("home.yaml").write_text(whole, encoding="utf-8")
    profile = competitions.find_competition("home.yaml")
    assert profile.public_files is not None
    assert "public_files" not in profile.model_dump(), "stores and runs keep no copy"
    mirrors, rest = whole.split("  mirrors:")
    Path("home.yaml").write_text(f"{mirrors}  mirrors:{rest.replace(*change)}", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        competitions.find_competition("home.yaml")
    for word in ("home.yaml", *words):
        assert word in caught.value.message


def test_profile_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"no competition profile at gone\.yaml"):
        competitions.find_competition("gone.yaml")


def test_a_faulty_profile_is_told_its_own_keys(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for text in (OWN.replace("target: class\n", ""), OWN.replace("title", "titel"), "a: 1\n"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            competitions.find_competition(str(path))
        hint = caught.value.hint
        assert "slug, title, layout, image_size, target_column, target, metric, counts" in hint
        assert "id_column, imagenet_config, valid_fraction" in hint
        assert "print-config" not in hint
        example = Path(hint.rpartition("an example: ")[2])
        assert competitions.read_profile(example).slug == "pcam"
    path.write_text(OWN + "slug: again\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="second time") as caught:
        competitions.find_competition(str(path))
    assert caught.value.hint == "keep one of the two"
