"""Features of real networks: those of Keras, and those of timm in their own process."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcam_kit.errors import UsageError
from pcam_kit.features import Backbone, choose_network
from pcam_kit.features.keras_network import KerasNetwork
from pcam_kit.features.timm_network import TimmNetwork
from pcam_kit.models.transfer import build_application

PATCHES = np.random.default_rng(0).integers(256, size=(3, 64, 64, 3), dtype=np.uint8)
needs_timm = pytest.mark.skipif(
    find_spec("timm") is None or find_spec("torch") is None,
    reason='needs timm and torch: pip install "pcam-kit[timm]"',
)
# weights of a small vision transformer, whole and damaged, and what it gives for PATCHES
WRITE = """
import json, numpy as np, os, pickle, sys, timm, torch
from pathlib import Path
from safetensors.torch import save_file

torch.manual_seed(3)
model = timm.create_model("test_vit", img_size=64, num_classes=2).eval()
for weight in model.parameters():  # so that no two weights are alike
    weight.data += 0.05 * torch.randn_like(weight)
save_file(model.state_dict(), "vit.safetensors")
torch.save(model.state_dict(), "vit.pth")
headless = {k: v for k, v in model.state_dict().items() if not k.startswith("head.")}
save_file(headless, "headless.safetensors")
save_file(timm.create_model("test_resnet").state_dict(), "resnet.safetensors")
data = Path("vit.safetensors").read_bytes()
Path("short.safetensors").write_bytes(data[: len(data) // 2])
data = Path("vit.pth").read_bytes()
Path("short.pth").write_bytes(data[: len(data) // 2])
config = {
    "architecture": "test_vit", "num_classes": 2,
    "model_args": {"img_size": 64},
    "pretrained_cfg": {
        "input_size": [3, 64, 64], "mean": [0.7, 0.6, 0.7], "std": [0.2, 0.2, 0.2],
        "interpolation": "bicubic", "fixed_input_size": True, "num_classes": 2,
        "classifier": "head", "first_conv": "patch_embed.proj", "license": "mit",
    },
}
for name, weights in (("snapshot", "vit"), ("wrong", "resnet")):
    Path(name).mkdir()
    Path(name, "config.json").write_text(json.dumps(config))
    Path(name, "model.safetensors").write_bytes(Path(f"{weights}.safetensors").read_bytes())
x = torch.from_numpy(np.load("patches.npy")).permute(0, 3, 1, 2) / 255
x = (x - torch.tensor([0.7, 0.6, 0.7]).reshape(3, 1, 1)) / 0.2
with torch.inference_mode():
    tokens = model.forward_features(x)
    np.save("class.npy", model.forward_head(tokens, pre_logits=True).numpy())
    prefix = model.num_prefix_tokens
    np.save("both.npy", torch.cat([tokens[:, 0], tokens[:, prefix:].mean(1)], 1).numpy())
"""


def test_keras_features_are_what_the_pooled_network_gives(tmp_path: Path) -> None:
    application = build_application("MobileNetV3Small", 64)
    path = tmp_path / "m.weights.h5"
    application.save_weights(path)
    network = KerasNetwork(Backbone("keras", "MobileNetV3Small", str(path)), 64)
    expected = application.predict_on_batch(PATCHES.astype(np.float32))
    assert network.width == 576
    assert expected.std() > 0
    np.testing.assert_allclose(network(PATCHES), expected, rtol=1e-3)
    random = [KerasNetwork(Backbone("keras", "MobileNetV3Small", "random"), 64) for _ in range(2)]
    sums = [one.facts["weights_sha256"] for one in (network, *random)]
    assert sums[0] != sums[1] == sums[2], "random weights are the same each time"
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(UsageError, match=r"--weights: .*m\.weights\.h5 does not hold") as caught:
        KerasNetwork(Backbone("keras", "MobileNetV3Small", str(path)), 64)
    assert "--model NAME" in caught.value.hint
    with pytest.raises(UsageError, match="--size: MobileNetV3Small needs 32 pixels") as caught:
        KerasNetwork(Backbone("keras", "MobileNetV3Small", "random"), 16)
    assert "--size 96" in caught.value.hint


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What WRITE writes, by a process without TensorFlow."""
    folder = tmp_path_factory.mktemp("timm")
    np.save(folder / "patches.npy", PATCHES)
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run([sys.executable, "-c", WRITE], cwd=folder, env=env, check=True, timeout=120)

    class Code:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {folder / 'EXECUTED'}",)

    (folder / "code.pth").write_bytes(pickle.dumps(Code()))
    return folder


def ask(backbones: list[Backbone], **env: str) -> list[dict[str, Any]]:
    """What the worker's network answers to each: values for PATCHES and facts, or an error.

    All in one process, as it takes seconds to import PyTorch.
    """
    code = """
import json, sys
from pcam_kit.errors import PcamError
from pcam_kit.features import Backbone
from pcam_kit.features.timm_worker import Network
import numpy as np

patches = np.random.default_rng(0).integers(256, size=(3, 64, 64, 3), dtype=np.uint8)
answers = []
for values in json.load(sys.stdin):
    try:
        network = Network(Backbone(**values))
        facts = network.about() | network.load()
        answers.append({"values": network.embed(patches).tolist(), **facts})
    except PcamError as error:
        answers.append({"error": error.message, "hint": error.hint})
print(json.dumps(answers))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps([asdict(backbone) for backbone in backbones]),
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "OMP_WAIT_POLICY": "PASSIVE"} | env,
        capture_output=True,
        encoding="utf-8",
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_timm
def test_timm_features_are_those_of_timm_itself(files: Path) -> None:
    """From a folder saved from the hub, with its own mean and deviation."""
    folder = str(files / "snapshot")
    with TimmNetwork(choose_network(folder)) as network:
        assert network.about == {"licence": "not stated: weights of a file"}
        network.load()
        assert network.facts["size"] == 64
        assert "mean [0.7, 0.6, 0.7]" in network.facts["preprocessing"]
        expected = np.load(files / "class.npy")
        np.testing.assert_allclose(network(PATCHES), expected, atol=1e-4)
        np.testing.assert_allclose(network(PATCHES[1:2]), expected[1:2], atol=1e-4)


@needs_timm
def test_files_are_read_with_or_without_classifier_and_others_refused(files: Path) -> None:
    """And names that timm does not know."""

    def case(model: str, weights: str, size: int | None = None) -> Backbone:
        path = weights if weights == "random" else str(files / weights)
        return choose_network(model, path, size)

    joined = Backbone("timm", "x", str(files / "snapshot"), pooling="class+mean")
    good = [case("test_vit", name, 64) for name in ("vit.safetensors", "vit.pth")]
    good += [case("test_vit", "headless.safetensors", 64), joined]
    bad = {
        r"does not hold the weights of test_resnet: \d+ weights missing, e.g. conv1": (
            "test_resnet",
            "vit.safetensors",
        ),
        r"does not hold the weights of test_vit": ("test_vit", "wrong"),
        r"short\.safetensors does not hold": ("test_vit", "short.safetensors"),
        r"short\.pth does not hold": ("test_vit", "short.pth"),
        r"it is a pickle with code in it, which is never run": ("test_vit", "code.pth"),
        r"no network called 'resnet_50'.*did you mean 'resnet50": ("resnet_50", "random"),
        r"timm cannot compute with test_vit": ("test_vit", "random", 50),
    }
    answers = ask([*good, *(case(*words) for words in bad.values())])
    whole, pickled, headless, both = answers[: len(good)]
    assert whole["values"] == pickled["values"] == headless["values"]
    assert whole["weights_sha256"] == pickled["weights_sha256"] == headless["weights_sha256"]
    np.testing.assert_allclose(both["values"], np.load(files / "both.npy"), atol=1e-4)
    for words, answer in zip(bad, answers[len(good) :], strict=True):
        assert re.search(words, answer["error"]), answer
        assert len(answer["error"]) < 700
        assert (
            "--model NAME" in answer["hint"] or "no network" in words or "--size" in answer["hint"]
        )
    assert not (files / "EXECUTED").exists()


@pytest.fixture
def hub(files: Path) -> Iterator[ThreadingHTTPServer]:
    """A hub of models on this machine: `open/vit`, `gated/vit`, and no others."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            name, path = Path(self.path).name, files / "snapshot" / Path(self.path).name
            if self.path.startswith("/gated/vit"):
                self.refuse(401, "GatedRepo")
            elif self.path.startswith("/broken/vit"):
                self.connection.close()
            elif not self.path.startswith("/open/vit"):
                self.refuse(401, "RepoNotFound")
            elif not path.is_file():
                self.refuse(404, "EntryNotFound")
            else:
                data = path.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("ETag", f'"{name}"')
                self.send_header("X-Repo-Commit", "0" * 40)
                self.end_headers()
                if body:
                    self.wfile.write(data)

        def refuse(self, code: int, why: str) -> None:
            self.send_response(code)
            self.send_header("X-Error-Code", why)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@needs_timm
def test_a_model_of_the_hub_is_downloaded_or_told_why_not(
    hub: ThreadingHTTPServer, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    names = ("hf-hub:open/vit", "hf-hub:gated/vit", "open/none", "hf-hub:broken/vit")
    answers = ask(
        [choose_network(name) for name in names],
        HF_ENDPOINT=f"http://127.0.0.1:{hub.server_address[1]}",
        HF_HOME=str(tmp_path),
        no_proxy="*",
    )
    found, gated, none, broken = answers
    np.testing.assert_allclose(found["values"], np.load(files / "class.npy"), atol=1e-4)
    assert found["licence"] == "mit"
    assert "gated/vit is gated" in gated["error"]
    assert "https://huggingface.co/gated/vit" in gated["hint"]
    assert "HF_TOKEN" in gated["hint"]
    assert "the hub has no model open/none" in none["error"]
    assert "could not be downloaded" in broken["error"]
    assert "--model broken/vit --weights FOLDER" in broken["hint"]
