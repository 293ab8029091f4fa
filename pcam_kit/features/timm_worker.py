"""The process that holds a network of timm: `python -m pcam_kit.features.timm_worker`.

stdin: a line of JSON, the backbone; then the line "load"; then for each batch a line, the shape,
and the pixels. stdout: a line of JSON for each, and after a batch's the features. Nothing of a
checkpoint or a hub's repository is run: weights are read with `weights_only`, or as safetensors.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from pcam_kit.errors import PcamError, UsageError
from pcam_kit.features.network import HUB, RANDOM, Backbone, suggest
from pcam_kit.formatting import counted
from pcam_kit.parsing import HEAD_BYTES, describe_bytes, printable, reason_of
from pcam_kit.worker import Answers

LAYERS = {"mlp_layer": "timm.layers", "act_layer": "torch.nn"}  # arguments that name a class
UNKNOWN = "not stated"
LONGEST = 300  # characters of what a library says


def main() -> None:
    """Answer until stdin ends."""
    answers, requests = Answers(), sys.stdin.buffer
    try:
        network = Network(Backbone(**json.loads(requests.readline())))
        answers.send(network.about())
        if not requests.readline():
            return
        answers.send(network.load())
        while line := requests.readline():
            shape = tuple(json.loads(line))
            pixels = np.frombuffer(bytearray(requests.read(int(np.prod(shape)))), np.uint8)
            values = network.embed(pixels.reshape(shape))
            answers.send({"rows": len(values)}, values.tobytes())
    except PcamError as error:
        answers.refuse(error)


class Network:
    """One network of timm, first without its weights."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._torch: Any = import_module("torch")
        self._timm: Any = import_module("timm")
        self._source = backbone.name
        path = backbone.path
        if path is not None and path.is_dir():
            self._source = f"local-dir:{path}"
        elif not backbone.name.startswith(HUB):
            architecture = backbone.name.partition(".")[0]
            if not self._timm.is_model(architecture):
                near = suggest(backbone.name, tuple(self._timm.list_models()))
                raise UsageError(
                    f"no network called {printable(backbone.name)!r}, neither of Keras nor of timm"
                    f"{near}",
                    hint="python -c 'import timm; print(*timm.list_models())' lists timm's",
                )
        self._config: Any = None
        self._model: Any = None

    def about(self) -> dict[str, Any]:
        """The licence, as far as it is known without the weights."""
        if self._backbone.licence:
            return {"licence": self._backbone.licence}
        if self._backbone.weights == RANDOM:
            return {"licence": "none: random weights"}
        if self._source.startswith("local-dir:") or self._backbone.path is not None:
            return {"licence": f"{UNKNOWN}: weights of a file"}
        if self._source.startswith(HUB):
            hub: Any = import_module("timm.models")
            config, _, _ = self._guard(
                hub.load_model_config_from_hf, self._source.removeprefix(HUB)
            )
            return {"licence": str(config.get("license") or UNKNOWN)}
        config = self._timm.get_pretrained_cfg(self._source)
        if config is None or not config.has_weights:
            raise UsageError(
                f"timm has no pretrained weights of {self._source}",
                hint="--weights random, or a file: --weights PATH",
            )
        return {"licence": str(config.license or UNKNOWN)}

    def load(self) -> dict[str, Any]:
        """Build the network with its weights; what the manifest says of it."""
        backbone, torch = self._backbone, self._torch
        torch.manual_seed(0)
        arguments = {
            key: getattr(import_module(LAYERS[key]), value) if key in LAYERS else value
            for key, value in backbone.arguments.items()
        }
        model = self._guard(self._create, arguments)
        # the classifier was read with the rest, so that no weight is missed; it is not for features
        model.reset_classifier(0)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = model.float().eval().to(device)
        self._model, self._device = model, device
        data: Any = import_module("timm.data")
        self._config = data.resolve_model_data_config(model)
        size = backbone.size or int(self._config["input_size"][-1])
        self._size = size
        self._mean, self._deviation = (
            torch.tensor(self._config[key], device=device).reshape(1, 3, 1, 1)
            for key in ("mean", "std")
        )
        width = self.embed(np.zeros((1, size, size, 3), np.uint8)).shape[1]
        how = f"mean {list(self._config['mean'])}, deviation {list(self._config['std'])} of 0..1"
        return {
            "size": size,
            "preprocessing": f"{how}, resized ({self._mode})",
            "weights_sha256": _digest(model),
            "versions": {name: metadata.version(name) for name in ("timm", "torch", "numpy")},
            "device": torch.cuda.get_device_name() if device == "cuda" else device,
            "width": width,
        }

    @property
    def _mode(self) -> str:
        """How pixels are interpolated: bilinear where timm names a kind that PyTorch lacks."""
        kind = str(self._config["interpolation"])
        return kind if kind in ("bilinear", "bicubic") else "bilinear"

    def embed(self, patches: Any) -> Any:
        """Features float32 [n, width] of patches uint8 [n, side, side, 3]. Raises UsageError."""
        torch = self._torch
        functional: Any = torch.nn.functional
        with torch.inference_mode():
            x = torch.from_numpy(patches).to(self._device).permute(0, 3, 1, 2).float() / 255
            if x.shape[-1] != self._size:
                # with antialiasing as Pillow does it, which timm's transforms use
                size = (self._size, self._size)
                x = functional.interpolate(x, size, mode=self._mode, antialias=True).clamp(0, 1)
            x = (x - self._mean) / self._deviation
            values = self._guard(self._forward, x)
        return values.float().cpu().numpy()

    def _forward(self, x: Any) -> Any:
        if self._backbone.pooling == "network":
            values = self._model(x)
        else:
            tokens = self._model.forward_features(x)
            patches = tokens[:, self._model.num_prefix_tokens :]
            values = self._torch.cat([tokens[:, 0], patches.mean(1)], dim=1)
        if values.ndim != 2:
            raise ValueError(f"it gives {list(values.shape)}, expected [n, width]")
        return values

    def _create(self, arguments: dict[str, Any]) -> Any:
        """The network with its classifier; every weight must have its place."""
        backbone = self._backbone
        options: dict[str, Any] = dict(arguments, pretrained=backbone.weights != RANDOM)
        path = backbone.path
        if path is not None and path.is_file():
            options |= self._from_file(path)
        if backbone.size is None:
            return self._timm.create_model(self._source, **options)
        try:
            return self._timm.create_model(self._source, **options, img_size=backbone.size)
        except TypeError as error:  # a convolutional network, which takes any size
            if "img_size" not in str(error):
                raise
            return self._timm.create_model(self._source, **options)

    def _from_file(self, path: Path) -> dict[str, Any]:
        """Options of `create_model` that take the weights of a file, with or without classifier."""
        models: Any = import_module("timm.models")
        state = models.load_state_dict(str(path))
        if not state or not all(hasattr(value, "shape") for value in state.values()):
            raise ValueError("it holds no weights by name")
        config = self._timm.get_pretrained_cfg(self._source.partition(".")[0])
        names = (config.classifier if config is not None else None) or ()
        names = (names,) if isinstance(names, str) else names
        shapes = [state[f"{name}.bias"].shape for name in names if f"{name}.bias" in state]
        classes = int(shapes[0][0]) if shapes else 0
        overlay = {
            "state_dict": state,
            "source": "",
            "num_classes": classes,
            "custom_load": False,
            "label_offset": 0,
        }
        return {"num_classes": classes, "pretrained_cfg_overlay": overlay}

    def _guard(self, function: Any, *arguments: Any) -> Any:
        """Call it; what a library raises becomes a UsageError that says what to do."""
        try:
            return function(*arguments)
        except (PcamError, MemoryError):
            raise
        except Exception as error:
            loading = self._model is None
            raise _explain(error, self._backbone, loading=loading) from error


def _explain(error: Exception, backbone: Backbone, *, loading: bool) -> UsageError:
    """What went wrong with a network, by what the libraries raised."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    path, hub = backbone.path, backbone.name.removeprefix(HUB)
    if loading and path is not None:
        return UsageError(
            f"{path} does not hold the weights of {backbone.name}: {_reason(error, path)}",
            hint="give the network that it was saved from: --model NAME; files are .safetensors, "
            "or a state_dict of torch.save",
        )
    if "GatedRepoError" in kinds:
        return UsageError(
            f"{hub} is gated: its authors want its terms accepted first",
            hint=f"accept them at {backbone.card}, create a token at "
            "https://huggingface.co/settings/tokens, and set HF_TOKEN to it",
        )
    if kinds & {"RepositoryNotFoundError", "HFValidationError"}:
        return UsageError(
            f"the hub has no model {hub}, or shows it only with a token",
            hint=f"see {backbone.card}; with a token: set HF_TOKEN",
        )
    if kinds & {"LocalEntryNotFoundError", "OSError", "HTTPError", "OfflineModeIsEnabled"}:
        return UsageError(
            f"the weights of {backbone.name} could not be downloaded: {_reason(_first(error))}",
            hint="try again with a network; or copy the model's folder (config.json and weights) "
            f"from a machine that has one, then --model {hub} --weights FOLDER",
        )
    return UsageError(
        f"timm cannot compute with {backbone.name}: {_reason(error)}",
        hint="try another --size, a smaller --batch, or another network",
    )


def _reason(error: Exception, path: Path | None = None) -> str:
    """The first sentences of what a library says; of a file that is none, what it is."""
    text = printable(" ".join(str(error).split())) or type(error).__name__
    if path is None:
        return reason_of(error)[:LONGEST]
    if "loading state_dict" in text:
        return "; ".join(_differences(str(error)))
    if "weights_only" in text:
        return "it is a pickle with code in it, which is never run"
    kind = ""
    if path.is_file():
        with open(path, "rb") as handle:
            kind = describe_bytes(handle.read(HEAD_BYTES))
    return (text[:LONGEST].rpartition(". ")[0] or text[:LONGEST]) + (f" ({kind})" if kind else "")


def _first(error: BaseException) -> Exception:
    """What an error was raised for in the beginning."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    assert isinstance(error, Exception)
    return error


def _differences(text: str) -> Iterator[str]:
    """What PyTorch says of weights that do not fit, in a few words for each kind."""
    for line in text.splitlines():
        names = re.findall(r'"([^"]+)"', line)
        if "Missing key" in line:
            yield f"{counted(len(names), 'weight')} missing, e.g. {names[0]}"
        elif "Unexpected key" in line:
            yield f"{counted(len(names), 'weight')} too many, e.g. {names[0]}"
    if wrong := re.findall(r"size mismatch for (\S+): (.*)", text):
        yield f"{counted(len(wrong), 'weight')} of another shape, e.g. {wrong[0][0]}"


def _digest(model: Any) -> str:
    """Hex SHA-256 of all weights with their names."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    main()
