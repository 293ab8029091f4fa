"""The folder of features, and the heads on them: without TensorFlow and PyTorch."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_line import CHECKOUT
from data_factories import flip, profile, write_pcam
from sklearn.linear_model import LogisticRegression

import pcam_kit as pcam
from pcam_kit.config.schema import Probe
from pcam_kit.data.layouts import open_raw
from pcam_kit.data.store import Store, build_store
from pcam_kit.errors import DataError, PcamError, RunError, UsageError
from pcam_kit.features import Part, choose_network, find_features, open_features
from pcam_kit.features.head import train_logistic, train_mlp
from pcam_kit.features.known import KNOWN, find_known
from pcam_kit.features.network import KERAS
from pcam_kit.progress import SILENT, silent
from pcam_kit.workflows.embed import EmbedRequest, embed
from pcam_kit.workspace import Workspace

MANIFEST = {
    "model": "Net",
    "licence": "MIT",
    "command": "pcam embed --model Net --data tiny",
    "competition": "tiny",
    "store_fingerprint": "f" * 64,
    "views": "none",
    "dtype": "float16",
    "rows": 5,
    "width": 3,
    "weights_sha256": "a" * 64,
}
VALUES = np.arange(15, dtype=np.float32).reshape(5, 3)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """24, 8 and 6 patches, on slides of 4."""
    monkeypatch.chdir(tmp_path)
    raw = write_pcam(tmp_path / "raw", packed=False, slides=True)
    return build_store(open_raw(profile("pcam_h5"), raw), tmp_path / "data" / "tiny" / "store")


def keep(store: Store, name: str = "Net-1", width: int = 4, **changes: Any) -> Path:
    """Features that tell the classes apart, and noise."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(len(store.labels), width)).astype(np.float32)
    values[:, 0] += 3 * np.maximum(store.labels, 0)
    facts = {"store_fingerprint": store.fingerprint, "rows": len(values), "width": width}
    with Part(Workspace().features_path("tiny") / name, MANIFEST | facts | changes) as part:
        part.add(values)
        return part.complete().path


def test_a_stopped_part_goes_on_after_its_last_whole_row(tmp_path: Path) -> None:
    target = tmp_path / "Net-1"
    with Part(target, MANIFEST) as part:
        part.add(VALUES[:2])
    with open(target.with_name("Net-1.part") / "features.npy", "ab") as handle:
        handle.write(b"\1\2\3")  # of a row that was being written
    with pytest.raises(DataError, match="not complete") as caught:
        open_features(target.with_name("Net-1.part"))
    assert caught.value.hint == MANIFEST["command"]
    with Part(target, MANIFEST | {"command": "pcam embed --weights elsewhere"}) as part:
        assert part.done == 2
        part.add(VALUES[2:])
        features = part.complete(device="CPU")
    np.testing.assert_array_equal(features.values, VALUES)
    np.testing.assert_array_equal(np.load(target / "features.npy"), VALUES)
    assert features.manifest["device"] == "CPU"
    assert not target.with_name("Net-1.part").exists()


def test_a_part_of_other_weights_is_kept_and_refused(tmp_path: Path) -> None:
    with Part(tmp_path / "Net-1", MANIFEST) as part:
        part.add(VALUES[:2])
    before = (tmp_path / "Net-1.part" / "features.npy").read_bytes()
    with pytest.raises(UsageError, match="another weights_sha256"):
        Part(tmp_path / "Net-1", MANIFEST | {"weights_sha256": "b" * 64})
    assert (tmp_path / "Net-1.part" / "features.npy").read_bytes() == before


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.nan, "not finite"), (1e6, "too large or too small"), (1e-7, "too large or too small")],
)
def test_values_that_float16_does_not_hold_are_refused(
    tmp_path: Path, value: float, words: str
) -> None:
    with pytest.raises(DataError, match=words), Part(tmp_path / "Net-1", MANIFEST) as part:
        part.add(np.full((1, 3), value, np.float32))
    assert part.done == 0
    assert list(tmp_path.iterdir()) == [], "there is nothing to go on with"
    if np.isfinite(value):
        with Part(tmp_path / "Net-2", MANIFEST | {"dtype": "float32"}) as part:
            part.add(np.full((5, 3), value, np.float32))
            assert part.complete().values[0, 0] == np.float32(value)


@pytest.mark.parametrize("what", ["bit", "short", "manifest", "gone", "rows"])
def test_damaged_features_are_refused(store: Store, what: str) -> None:
    folder = keep(store)
    values, manifest = folder / "features.npy", folder / "manifest.json"
    match what:
        case "bit":
            flip(values, 300)
        case "short":
            values.write_bytes(values.read_bytes()[:-1])
        case "gone":
            values.unlink()
        case "manifest":
            manifest.write_text("{", encoding="utf-8")
        case _:
            facts = json.loads(manifest.read_text(encoding="utf-8")) | {"rows": 7}
            manifest.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(DataError, match=r"features\.npy|manifest\.json"):
        pcam.probe(display=SILENT)
    assert not Path("runs").exists()


def test_features_are_found_by_a_part_of_their_name(store: Store) -> None:
    first, second = keep(store, "Net-1"), keep(store, "Wide-2")
    data = Path("data")
    assert find_features(data, None).name == second.name
    assert find_features(data, "Net").name == first.name
    assert find_features(data, str(first)) == first
    with pytest.raises(UsageError, match=r"several features.*Net-1, Wide-2"):
        find_features(data, "-")
    with pytest.raises(UsageError, match="no features have 'x9'"):
        find_features(data, "x9")
    with pytest.raises(UsageError, match="no features below nothing") as caught:
        find_features(Path("nothing"), None)
    assert "pcam embed" in caught.value.hint


def test_features_of_another_store_are_refused(store: Store) -> None:
    keep(store, store_fingerprint="e" * 64)
    with pytest.raises(DataError, match="eeeeeeee") as caught:
        pcam.probe(display=SILENT)
    assert "pcam embed --model Net" in caught.value.hint
    assert not Path("runs").exists()


@pytest.mark.parametrize("head", ["logistic", "mlp"])
def test_a_probe_is_a_run_like_any_other(store: Store, head: Any) -> None:
    folder = keep(store)
    run = pcam.probe("Net", head=head, name="my-probe", display=SILENT)
    assert run.experiment.model == Probe(name="probe", features="Net-1", head=head)
    assert run.outcome.valid_n == 8
    assert run.meta["features"]["licence"] == "MIT"
    assert run.meta["head"]["folds_by"] == "slides"
    evaluation = pcam.evaluate(run, display=SILENT)
    assert evaluation.scores.auc == run.outcome.valid_auc >= 0.8
    assert evaluation.slides == 2
    assert pcam.evaluate(run, "train", display=SILENT).scores.n == 24
    prediction = pcam.predict(run, display=SILENT)
    assert prediction.csv.rows == 6
    assert pcam.predict([run, pcam.probe(display=SILENT)], display=SILENT).csv.rows == 6
    shown = pcam.show(run).summary()
    assert "MIT" in shown["features of"]
    assert "training" not in shown
    with pytest.raises(RunError, match="holds predictions of a probe") as caught:
        pcam.predict(run, tta="d4", display=SILENT)
    assert "pcam embed --views d4" in caught.value.hint
    with pytest.raises(RunError, match="holds predictions of a probe"):
        pcam.export(run, display=SILENT)
    with pytest.raises(RunError, match="holds predictions of a probe"):
        pcam.apply(run, "x.png", display=SILENT)
    with pytest.raises(PcamError, match="probe stands for predictions of a probe"):
        pcam.train(run.path / "config.yaml", display=SILENT)
    # what head.npz is for: the same answers without this package
    with np.load(run.path / "head.npz") as arrays:
        x = (open_features(folder).values.astype("f4") - arrays["mean"]) / arrays["deviation"]
        if head == "mlp":
            x = np.maximum(x @ arrays["weights0"] + arrays["biases0"], 0)
        last = (len(arrays.files) - 4) // 2
        logits = (x @ arrays[f"weights{last}"] + arrays[f"biases{last}"])[:, 0]
    kept = run.load_predictions("test")
    assert kept is not None
    rows = store.rows("test")
    np.testing.assert_allclose(kept.probability("none"), 1 / (1 + np.exp(-logits[rows])), atol=1e-5)


def test_a_probe_trains_without_copies_of_validation_patches(store: Store) -> None:
    """As `pcam train`: the rows are those of its plan."""
    manifest = store.path / "manifest.json"
    facts = json.loads(manifest.read_text(encoding="utf-8"))
    copied = {"here": "train", "there": "valid", "exact": 2, "near": 0, "rows": [0, 1]}
    facts["copies"] = [copied]
    manifest.write_text(json.dumps(facts), encoding="utf-8")
    keep(store)
    run = pcam.probe(display=SILENT)
    assert run.experiment.data.drop_copies is True
    assert run.experiment.data.limit is None
    limited = pcam.probe(limit=10, seed=1, display=SILENT)
    assert limited.experiment.data.limit == 10


def test_names_and_seeds_that_do_not_fit_are_refused(store: Store) -> None:
    keep(store)
    for wrong in ({"name": "a b"}, {"seed": -1}, {"limit": 1}):
        with pytest.raises(PcamError, match="do not fit"):
            pcam.probe(display=SILENT, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="logistic or mlp"):
        pcam.probe(head="tree", display=SILENT)  # type: ignore[arg-type]
    assert not Path("runs").exists()


def test_the_penalty_is_the_one_with_the_least_loss_on_other_slides() -> None:
    """Noise needs a strong penalty; two clear features need none."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=200)
    folds = np.arange(200) % 3
    noise = rng.normal(size=(200, 60)).astype(np.float32)
    clear = noise[:, :2] + 4 * labels[:, None]
    strong = train_logistic(noise, labels, folds, silent)
    weak = train_logistic(clear.astype(np.float16), labels, folds, silent)
    assert strong.facts["C"] < weak.facts["C"]
    assert min(strong.facts["log_loss"].values()) == pytest.approx(np.log(2), abs=0.02)
    expected = LogisticRegression(C=weak.facts["C"]).fit(weak.standardise(clear), labels)
    p = expected.predict_proba(weak.standardise(clear))[:, 1]
    np.testing.assert_allclose(weak.probabilities(clear), p, atol=2e-3)


def test_a_feature_that_never_varies_is_no_trouble() -> None:
    labels = np.arange(60) % 2
    values = np.stack([labels + 1e-9, np.full(60, 7.0), np.zeros(60)], axis=1)
    head = train_mlp(values.astype(np.float32), labels, np.arange(60) // 2 % 5, silent, seed=0)
    assert np.isfinite(head.probabilities(values.astype(np.float32))).all()


def test_networks_are_found_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = choose_network("EfficientNetB0", "random", 96)
    assert (network.library, network.label) == ("keras", "EfficientNetB0")
    assert network.options() == "--model EfficientNetB0 --weights random --size 96"
    assert find_known("hf_hub:mahmoodlab/uni") is find_known("UNI") is KNOWN["UNI"]
    with pytest.raises(UsageError, match="no file, and no folder") as caught:
        choose_network("EfficientNetB0", str(tmp_path / "gone.h5"))
    assert "pretrained" in caught.value.hint
    (tmp_path / "w.safetensors").write_bytes(b"x")
    with pytest.raises(UsageError, match="does not say what network"):
        choose_network(str(tmp_path / "w.safetensors"))
    with pytest.raises(UsageError, match="is a folder"):
        choose_network("ResNet50", str(tmp_path))
    with pytest.raises(UsageError, match="need 32 pixels, found 16"):
        choose_network("ResNet50", "random", 16)
    monkeypatch.setattr("pcam_kit.features.network.find_spec", lambda _: object())
    uni = choose_network("UNI")
    assert (uni.name, uni.licence, uni.gated) == ("hf-hub:MahmoodLab/UNI", "CC-BY-NC-ND-4.0", True)
    assert uni.arguments == {"init_values": 1e-5, "dynamic_img_size": True}
    assert choose_network("owner/some net").label == "some-net"
    assert choose_network("owner/some").name == "hf-hub:owner/some"
    kept = choose_network("Virchow2", str(tmp_path))
    assert kept.pooling == "class+mean"
    assert kept.identity()["weights"] == kept.weights_sha256 != ""


def test_without_timm_an_unknown_name_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pcam_kit.features.network.find_spec", lambda _: None)
    with pytest.raises(
        UsageError, match=r"did you mean 'EfficientNetB0'.*timm and torch"
    ) as caught:
        choose_network("EficientNetB0")
    assert 'pip install "pcam-kit[timm]"' in caught.value.hint
    assert "ResNet50V2" in caught.value.hint
    assert set(KERAS).isdisjoint(KNOWN)


def test_the_page_names_each_foundation_model_with_its_licence() -> None:
    page = (CHECKOUT / "docs" / "features.md").read_text(encoding="utf-8")
    for name, known in KNOWN.items():
        gated = "yes" if known.gated else "no"
        assert f"| `{name}` | {known.hub} | {known.licence} | {gated} |" in page


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Mean colours of the corners instead of a network; notes the patches of each call."""
    calls: list[int] = []

    class Corners:
        width = 6

        def __init__(self, *_: Any) -> None:
            self.facts = {"size": 32, "preprocessing": "none", "weights_sha256": "c"}

        def __call__(self, patches: np.ndarray) -> np.ndarray:
            calls.append(len(patches))
            if len(calls) == 3:
                raise KeyboardInterrupt
            halves = patches[:, :16].mean((1, 2)), patches[:, 16:, :16].mean((1, 2))
            return np.concatenate(halves, axis=1).astype(np.float32)

    module = SimpleNamespace(KerasNetwork=Corners)  # the real one imports TensorFlow
    monkeypatch.setitem(sys.modules, "pcam_kit.features.keras_network", module)
    return calls


def test_a_stopped_work_is_resumed_and_never_repeated(store: Store, network: list[int]) -> None:
    request = EmbedRequest("ResNet50", "random", "tiny", batch=10)
    with pytest.raises(PcamError, match="20 of 38 patches are done") as caught:
        embed(request, Workspace())
    assert "resumes" in caught.value.hint
    with pytest.raises(DataError, match="not complete"):
        pcam.probe("ResNet50", display=SILENT)
    features = embed(request, Workspace())
    assert network == [10] * 5, "the last batch is filled up"
    expected = store.images[:, :16].mean((1, 2))
    np.testing.assert_allclose(features.values[:, :3], expected, rtol=1e-3)
    assert embed(request, Workspace()).path == features.path
    assert len(network) == 5
    turned = embed(EmbedRequest("ResNet50", "random", "tiny", views="d4"), Workspace())
    assert turned.path != features.path
    # the corner and the half have the mean of the whole patch in the mean over all symmetries
    whole = store.images.mean((1, 2))
    np.testing.assert_allclose(turned.values[:, :3], whole, rtol=1e-3)
    np.testing.assert_allclose(turned.values[:, 3:], whole, rtol=1e-3)


def test_wrong_values_are_refused_before_anything_is_loaded(store: Store) -> None:
    for wrong, words in (
        ({"views": "d5"}, "none or d4"),
        ({"dtype": "int8"}, "float16 or float32"),
        ({"batch": 0}, "1 to 4,096"),
        ({"size": 5000}, "1 to 4,096"),
    ):
        with pytest.raises(UsageError, match=words):
            embed(EmbedRequest("ResNet50", **wrong), Workspace())
    assert not Workspace().features_path("tiny").exists()
