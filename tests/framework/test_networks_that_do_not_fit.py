"""Networks that cannot be built for the size of the patches are told so."""

from __future__ import annotations

from typing import Any

import pytest

from pcam_kit.config.schema import GroupResNet, LabCnn, P4MDenseNet, ReportCnn, ResNet
from pcam_kit.errors import ConfigError
from pcam_kit.models import build_model
from pcam_kit.models.task import Task


@pytest.mark.parametrize(
    "config",
    [
        LabCnn(name="lab_cnn", filters=[4] * 12),
        LabCnn(name="lab_cnn", filters=[4] * 6, units=None),
        ReportCnn(name="report_cnn", filters=[4] * 12),
        ResNet(name="resnet", widths=[4] * 12),
        P4MDenseNet(name="p4m_densenet", blocks=20),
    ],
    ids=lambda config: config.name,
)
def test_too_many_halvings(config: Any) -> None:
    with pytest.raises(ConfigError, match=f"{config.name} cannot be built for patches of 32"):
        build_model(config, Task(32))


@pytest.mark.parametrize(
    "config",
    [
        ResNet(name="resnet", widths=[4] * 6),
        GroupResNet(name="group_resnet", widths=[1] * 4),
        LabCnn(name="lab_cnn", filters=[4] * 4),
    ],
    ids=lambda config: config.name,
)
def test_as_many_as_fit(config: Any) -> None:
    assert build_model(config, Task(32)).output_shape == (None, 1)
