"""The road from files to a checked CSV under Windows' rules, imitated on Linux: see windows.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import CHECKOUT, TESTS, Project, Warm, clean_env

if not Path("/proc/self/maps").exists():
    pytest.skip("the imitation reads Linux's /proc", allow_module_level=True)

from windows import CTRL_BREAK

LAB = "tnm-112-lab-2-2024"
# tests of what renames, deletes, locks and downloads
AGAIN = (
    *("unit/test_files.py", "unit/test_store_safety.py", "unit/test_stain_normalise.py"),
    *("unit/test_sources_zips.py", "unit/test_submissions.py", "kaggle/test_client.py"),
)
QUICK = """\
# pcam train quick: a comment with ± and –
model: {name: lab_cnn, filters: [4, 8], units: 8}
training: {epochs: 2, batch_size: 16, learning_rate: 1e-2}
evaluation: {tta: none}
"""
BEGIN = f"import sys; sys.path.insert(0, {str(TESTS)!r}); import windows; windows.install()\n"


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own that is under the rules."""
    return subprocess.run(
        [sys.executable, "-c", BEGIN + code],
        cwd=cwd,
        env=clean_env(cwd / "home", PYTHONIOENCODING="cp1252", TF_CPP_MIN_LOG_LEVEL="3"),
        capture_output=True,
        encoding="cp1252",
        check=False,
    )


def write_lab(folder: Path, seed: int) -> Path:
    """The lab's three HDF5 files, small; positive patches are darker."""
    folder.mkdir(exist_ok=True)
    dice = np.random.default_rng(seed)
    for name, n in (("train", 96), ("valid", 48), ("test_x", 24)):
        labels = np.arange(n) % 2
        images = dice.integers(80, 256, (n, 32, 32, 3)) - 70 * labels[:, None, None, None]
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["x"] = images.astype(np.uint8)
            if name != "test_x":
                file["y"] = labels.astype(np.uint8)
    return folder


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    server = Warm(tmp_path_factory.mktemp("windows"), as_windows=True)
    yield server
    server.close()


@pytest.fixture
def there(tmp_path: Path, windows: Warm) -> Project:
    """A working directory with a space and an umlaut in its name, and the config `quick`."""
    path = tmp_path / "Müllers Daten"
    (path / "configs").mkdir(parents=True)
    (path / "configs" / "quick.yaml").write_text(QUICK, encoding="utf-8")
    return Project(path, clean_env(tmp_path / "home"), windows)


@pytest.mark.slow
def test_every_module_can_be_imported(tmp_path: Path) -> None:
    code = """
import importlib, pkgutil, pcam_kit
names = [module.name for module in pkgutil.walk_packages(pcam_kit.__path__, "pcam_kit.")]
for name in names:
    importlib.import_module(name)
from pcam_kit import files
assert files.os.name == "nt" and not hasattr(files.os, "fork")
print(len(names))
"""
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import pcam_kit.files as f; f.__builtins__['__import__']('fcntl', vars(f))", "No module"),
        ("handle = open('a'); Path('a').replace('b')", "Permission denied: 'a'"),
        ("handle = open('a'); Path('c').write_text(''); Path('c').replace('a')", "denied: 'a'"),
        ("images = np.load('x.npy', mmap_mode='r'); Path('x.npy').unlink()", "denied: 'x.npy'"),
        ("images = np.load('d/x.npy', mmap_mode='r'); Path('d').rename('e')", "denied: 'd'"),
        ("os.open('d', os.O_RDONLY)", "denied: 'd'"),
        ("os.fsync(open('a', 'rb').fileno())", "Bad file descriptor"),
        ("Path('12:30.txt').write_text('')", "Invalid argument: '12:30.txt'"),
        ("Path('a').write_text('→')", "can't encode character"),
    ],
)
def test_the_rules_are_in_force(code: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "d").mkdir()
    for folder in (tmp_path, tmp_path / "d"):
        np.save(folder / "x.npy", np.zeros(9000))
    done = python(f"import os; from pathlib import Path; import numpy as np\n{code}", tmp_path)
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_other_tests_pass_too(tmp_path: Path) -> None:
    code = f"""
import os, pytest
os.chdir({str(CHECKOUT)!r})
files = [os.path.join("tests", name) for name in {AGAIN}]
sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *files]))
"""
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stdout[-5000:]


@pytest.mark.slow
def test_the_demo(there: Project) -> None:
    done = there.quick("demo").ok()
    assert "--runs-dir demo/runs" in done.err


@pytest.mark.slow
def test_from_files_to_a_checked_csv(there: Project) -> None:
    raw = write_lab(there.path / "raw files", 1)
    there.quick("fetch", LAB, "--from", raw).ok()
    stop = {"on": "step", "at": 3, "signal": CTRL_BREAK}
    there.quick("train", "quick", hook=stop).refused(130, "stopped")
    (run,) = there.runs()
    assert (run / "state.npz").is_file()
    trained = there.quick("train", "--resume", "--json").json
    assert trained["epochs"] == 2
    assert not (run / "state.npz").exists()
    assert there.quick("evaluate", "--json").json["n"] == 48
    predicted = there.quick("predict", "--json").json
    there.quick("predict").ok()  # over the CSV that is there
    assert there.quick("submit", "--dry-run", "--json").json["status"] == "dry-run"
    for command in ("runs", "submissions", "leaks", "shift"):
        there.quick(command).ok()
    there.quick("doctor", "--offline").ok()

    csv = there.path / predicted["csv"]
    assert csv.read_bytes().count(b"\n") == 25
    texts = [path for path in there.path.rglob("*") if path.suffix in {".csv", ".json", ".jsonl"}]
    texts += [run / "config.yaml", run / "metrics.jsonl"]
    assert len(texts) > 8
    for path in texts:
        assert b"\r" not in path.read_bytes(), f"{path} depends on the system"


def test_redirected_data_is_utf_8(there: Project) -> None:
    config = there.path / "own.yaml"
    config.write_text(f"competition: Größe\n{QUICK}", encoding="utf-8")
    # the nearest to cp1252 that every Linux has: ASCII
    ascii = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, str(TESTS / "windows.py"), "train", "own.yaml", "--print-config"],
        cwd=there.path,
        env=there.env | ascii,
        capture_output=True,
        check=True,
    )
    assert "competition: Größe\n" in done.stdout.decode("utf-8")


def test_a_store_is_built_again_and_normalised_beside_itself(there: Project) -> None:
    raw = write_lab(there.path / "raw files", 1)
    first = there.quick("fetch", LAB, "--from", raw, "--json").json["fingerprint"]
    for _ in range(2):
        there.quick("fetch", LAB, "--stain", "reinhard").ok()
    write_lab(raw, 2)
    second = there.quick("fetch", LAB, "--from", raw, "--json").json["fingerprint"]
    there.quick("fetch", LAB, "--stain", "reinhard").ok()
    assert first != second
    folders = {path.name for path in (there.path / "data" / LAB).iterdir() if path.is_dir()}
    kept = {name for name in folders if name.startswith(("store.", "store-reinhard."))}
    assert len(kept) == 2
    assert folders - kept == {"store", "store-reinhard"}


def test_a_store_in_use_stays_as_it_is(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_lab(tmp_path / f"raw{seed}", seed)
    code = f"""
from pathlib import Path
import pcam_kit as pcam
from pcam_kit.errors import StorageError
store = pcam.fetch({LAB!r}, files=Path("raw1"))
before = store.fingerprint
try:
    pcam.fetch({LAB!r}, files=Path("raw2"))
except StorageError as error:
    print(error, error.hint, sep="; ")
assert pcam.open_store({LAB!r}).fingerprint == before
del store
assert pcam.fetch({LAB!r}, files=Path("raw2")).fingerprint != before
"""
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "another program has it open" in done.stdout
    assert "close that program" in done.stdout
