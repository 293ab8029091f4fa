"""The notebooks, executed: that for Kaggle as there, with read-only input, without internet and
account; that for students on few synthetic patches.
"""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import nbformat
import numpy as np
import pytest
from command_line import CHECKOUT, clean_env, tree
from nbclient import NotebookClient

from pcam_kit.competitions import Split
from pcam_kit.data.raw import Part
from pcam_kit.data.synthetic import synthetic_parts

NOTEBOOKS = sorted((CHECKOUT / "notebooks").glob("*.ipynb"))
KAGGLE = CHECKOUT / "notebooks" / "kaggle.ipynb"
QUICKSTART = CHECKOUT / "notebooks" / "quickstart.ipynb"
COUNTS: dict[Split, int] = {"train": 160, "valid": 60, "test": 40}
OFFLINE = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


def notebook(path: Path = KAGGLE, **settings: object) -> nbformat.NotebookNode:
    """A notebook, with the values of some names in its cell of settings replaced."""
    book = nbformat.read(path, as_version=4)
    cell = next(cell for cell in book.cells if cell.id == "settings")
    for name, value in settings.items():
        line = rf"^{name} = [^#\n]*"
        assert len(re.findall(line, cell.source, re.MULTILINE)) == 1, name
        text = f"Path({str(value)!r})" if isinstance(value, Path) else repr(value)
        cell.source = re.sub(line, f"{name} = {text}  ", cell.source, flags=re.MULTILINE)
    return book


def execute(book: nbformat.NotebookNode, folder: Path, home: Path) -> str:
    """Run all cells in a folder, offline; what they show, as text."""
    client = NotebookClient(book, timeout=300, resources={"metadata": {"path": folder}})
    client.execute(env=clean_env(home, **OFFLINE))
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output["data"]["text/plain"] for output in outputs)


def write_tifs(folder: Path, parts: dict[Split, Part]) -> list[str]:
    """The layout of histopathologic-cancer-detection; the ids of its sample submission."""
    ids: dict[str, list[str]] = {}
    labels: list[int] = []
    for name, splits in {"train": ("train", "valid"), "test": ("test",)}.items():
        (folder / name).mkdir(parents=True)
        chosen = [parts[split] for split in splits]  # type: ignore[index]
        images = np.concatenate([block for part in chosen for block in part.blocks()])
        ids[name] = [f"{name}{row:04d}" for row in range(len(images))]
        for id_, image in zip(ids[name], images, strict=True):
            cv2.imwrite(str(folder / name / f"{id_}.tif"), image[:, :, ::-1])
        labels = labels or np.concatenate([part.labels for part in chosen]).tolist()
    ids["test"].reverse()
    tables = {
        "train_labels.csv": zip(ids["train"], labels, strict=True),
        "sample_submission.csv": ((id_, 0) for id_ in ids["test"]),
    }
    for name, rows in tables.items():
        with open(folder / name, "w", encoding="utf-8", newline="") as handle:
            csv.writer(handle).writerows([("id", "label"), *rows])
    return ids["test"]


def write_hdf5(folder: Path, parts: dict[Split, Part]) -> list[str]:
    """The layout of tnm-112-lab-2-2024; the ids that it wants: row numbers."""
    folder = folder / "patchcam"
    folder.mkdir(parents=True)
    for split, part in parts.items():
        with h5py.File(folder / ("test_x.h5" if split == "test" else f"{split}.h5"), "w") as file:
            file["x"] = np.concatenate([*part.blocks()])
            if split != "test":
                file["y"] = part.labels.astype(np.uint8)
    return [str(row) for row in range(parts["test"].n)]


@dataclass(frozen=True)
class Attached:
    """What a person has attached below /kaggle/input, where, and what goes with it."""

    slug: str
    mount: str
    size: int
    write: Callable[[Path, dict[Split, Part]], list[str]]
    config: str
    column: str


ATTACHED = {
    "competition": Attached(
        "histopathologic-cancer-detection",
        "competitions/histopathologic-cancer-detection",
        96,
        write_tifs,
        "pcam96",
        "label",
    ),
    "dataset": Attached(
        "tnm-112-lab-2-2024", "datasets/somebody/lab-files", 32, write_hdf5, "lab", "class"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("attached", ATTACHED.values(), ids=ATTACHED)
def test_it_leads_from_the_input_to_a_submission(attached: Attached, tmp_path: Path) -> None:
    kaggle = tmp_path / "kaggle"
    parts = {part.split: part for part in synthetic_parts(COUNTS, attached.size, 0)}
    ids = attached.write(kaggle / "input" / attached.mount, parts)
    (kaggle / "working").mkdir()
    before = tree(kaggle / "input")
    book = notebook(COMPETITION=attached.slug, CONFIG=attached.config, QUICK=True, KAGGLE=kaggle)

    shown = execute(book, kaggle / "working", tmp_path / "home")

    assert tree(kaggle / "input") == before
    assert {path.name for path in (kaggle / "working").iterdir()} == {
        "runs",
        "submissions",
        "submission.csv",
        "report.html",
    }
    with open(kaggle / "working" / "submission.csv", encoding="utf-8", newline="") as handle:
        header, *rows = csv.reader(handle)
    assert header == ["id", attached.column]
    assert [row[0] for row in rows] == ids
    values = [float(row[1]) for row in rows]
    assert all(0 <= value <= 1 for value in values)
    assert attached.column == "label" or set(values) <= {0.0, 1.0}
    assert shown.count("epoch 1/2") == shown.count("epoch 2/2") == 1, "once, when it is over"
    assert len(shown.splitlines()) < 45
    assert not re.search(r"warning|traceback|Output\(\)", shown, re.IGNORECASE), shown


@pytest.mark.slow
def test_the_quickstart_compares_a_network_of_ones_own(tmp_path: Path) -> None:
    book = notebook(QUICKSTART, PATCHES=150, EPOCHS=1)
    shown = execute(book, tmp_path, tmp_path / "home")
    assert not re.search(r"warning|traceback", shown, re.IGNORECASE), shown
    assert {path.name for path in tmp_path.iterdir()} == {"home", "quickstart"}
    assert len(list((tmp_path / "quickstart" / "runs").iterdir())) == 2
    (csv_file,) = (tmp_path / "quickstart" / "submissions").glob("*.csv")
    assert len(csv_file.read_text(encoding="utf-8").splitlines()) == 1 + 150 // 3
    shown_html = "\n".join(shown_as(book, "text/html"))
    captions = re.findall(r"<caption[^>]*>(\w+(?:: \d)?)", shown_html)
    assert captions == [
        *("Store", "Run", "RunEvaluation", "Run", "RunEvaluation: 2"),
        *("PredictionResult", "SubmissionResult"),
    ]
    assert "AUC, difference" in shown_html
    assert shown_html.count("<figure") == 3
    assert len(shown_as(book, "image/png")) == 2


def shown_as(book: nbformat.NotebookNode, kind: str) -> list[str]:
    """What the cells show in one MIME type."""
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_without_outputs_and_paths(path: Path) -> None:
    book = notebook(path)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count] == []
    text = "\n".join(cell.source for cell in book.cells)
    assert set(re.findall(r"(?<![\w/}.])/([a-z]+)/", text)) <= {"kaggle", "content"}


def test_without_internet_it_installs_from_a_dataset_of_wheels(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="builds a wheel without the network")
    kaggle = tmp_path / "kaggle"
    wheels = kaggle / "input" / "datasets" / "somebody" / "my-wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir"]
    subprocess.run([*build, str(wheels), str(CHECKOUT)], check=True, capture_output=True)
    # an image that has all but pcam-kit
    image = tmp_path / "image"
    image.mkdir()
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "pcam_kit" not in path.name and path.suffix != ".pth":
            (image / path.name).symlink_to(path)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    cells = {cell.id: cell.source for cell in notebook(KAGGLE=kaggle).cells}
    code = f"{cells['settings']}\n{cells['install']}\nimport pcam_kit; print(pcam_kit.__file__)"
    env = clean_env(tmp_path / "home", PYTHONPATH=str(image), **OFFLINE)

    def run(*, code_expected: int = 0) -> str:
        done = subprocess.run(
            [str(tmp_path / "venv" / "bin" / "python"), "-c", code],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == code_expected, done.stderr
        return (done.stderr if code_expected else done.stdout).strip()

    away = tmp_path / "away"
    wheels.rename(away)
    assert "no wheel of pcam-kit" in run(code_expected=1), "nothing is taken from a registry"
    away.rename(wheels)
    assert run().startswith(str(tmp_path / "venv")), "installed, and nothing else was said"
    shutil.rmtree(wheels)
    assert run().startswith(str(tmp_path / "venv")), "what is there is not installed again"
