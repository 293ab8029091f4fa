"""The plain PyTorch that our training steps race: the same layers, for benchmarks/speed.py.

python benchmarks/torch_steps.py JSON, where PyTorch is installed; nothing else is needed. JSON has
`network` (the config's `model`), `size`, `batch`, `bfloat16`, `steps`, and for groups `indexes`,
which say where the weights of the expanded kernels come from. For each line of stdin it takes
`steps` steps on one fixed batch and prints milliseconds a step.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class GroupConvolution(nn.Module):
    """A convolution whose kernel is expanded for all elements of p4m in each step, as ours is."""

    def __init__(self, orders: int, channels: int, filters: int, size: int, index: Any) -> None:
        super().__init__()
        self.size, self.orders, self.channels, self.filters = size, orders, channels, filters
        self.weight = nn.Parameter(0.05 * torch.randn(size * size * orders, channels, filters))
        self.register_buffer("index", torch.tensor(index))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = self.size
        taken = self.weight[self.index].reshape(8, size, size, self.orders, self.channels, -1)
        kernel = taken.permute(0, 5, 3, 4, 1, 2)
        kernel = kernel.reshape(8 * self.filters, self.orders * self.channels, size, size)
        return functional.conv2d(x, kernel, padding=size // 2)


class GroupNormalization(nn.Module):
    """Batch norm over the channels of a group: its elements are as further images."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, merged, height, width = x.shape
        # channels last: the elements of a pixel lie side by side
        split = x.permute(0, 2, 3, 1).reshape(n, height, width * 8, merged // 8)
        out = self.norm(split.permute(0, 3, 1, 2))
        return out.permute(0, 2, 3, 1).reshape(n, height, width, merged).permute(0, 3, 1, 2)


class Block(nn.Module):
    """A residual block with pre-activation; the shortcut averages and has a 1x1 convolution."""

    def __init__(self, parts: Any, before: int, width: int, halve: bool, pool_first: bool) -> None:
        super().__init__()
        self.halve, self.pool_first = halve, pool_first
        self.first, self.second = parts.norm(before), parts.norm(width)
        stride = 2 if halve and not pool_first else 1
        self.enter = parts.convolve(before, width, 3, stride)
        self.leave = parts.convolve(width, width, 3, 1)
        changes = halve or before != width
        self.shortcut = parts.convolve(before, width, 1, 1) if changes else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.first(x))
        pooled = functional.avg_pool2d(y, 2) if self.halve else y
        shortcut = x if self.shortcut is None else self.shortcut(pooled)
        y = self.enter(pooled if self.pool_first else y)
        return shortcut + self.leave(functional.relu(self.second(y)))


class Plain:
    """The layers of `resnet`."""

    def norm(self, channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)

    def convolve(self, before: int, width: int, size: int, stride: int) -> nn.Module:
        return nn.Conv2d(before, width, size, stride, size // 2, bias=False)


class Grouped:
    """The layers of `group_resnet`."""

    def __init__(self, indexes: dict[str, Any]) -> None:
        self.indexes = indexes

    def norm(self, channels: int) -> nn.Module:
        return GroupNormalization(channels)

    def convolve(self, before: int, width: int, size: int, stride: int) -> nn.Module:
        return GroupConvolution(8, before, width, size, self.indexes[f"group{size}"])

    def lift(self, width: int) -> nn.Module:
        return GroupConvolution(1, 3, width, 3, self.indexes["lifting3"])


class Network(nn.Module):
    """From pixels 0-255 [n, 3, size, size] to logits [n, 1]."""

    def __init__(self, config: dict[str, Any], indexes: dict[str, Any] | None) -> None:
        super().__init__()
        widths = config["widths"]
        self.centre = config.get("pool") == "centre"
        self.group = indexes is not None
        self.stem_pool = config.get("stem_pool") or 1
        parts: Any = Grouped(indexes) if indexes is not None else Plain()
        if indexes is not None:
            self.stem = parts.lift(widths[0])
        else:
            self.stem = nn.Conv2d(3, widths[0], 3, config["stem_stride"], 1, bias=False)
        blocks, before = [], widths[0]
        for stage, width in enumerate(widths):
            for block in range(config["blocks"]):
                halve = stage > 0 and block == 0
                blocks.append(Block(parts, before, width, halve, pool_first=self.group))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.last = parts.norm(before)
        self.drop = nn.Dropout(config["dropout"])
        self.logit = nn.Linear(before * (2 if self.centre else 1), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x.float() / 127.5 - 1)
        if self.stem_pool > 1:
            x = functional.avg_pool2d(x, self.stem_pool)
        x = functional.relu(self.last(self.blocks(x)))
        if self.group:
            n, merged, height, width = x.shape
            x = x.reshape(n, 8, merged // 8, height, width).mean(1)
        features = [x.mean((2, 3))]
        if self.centre:
            top, left = x.shape[2] // 3, x.shape[3] // 3
            features.append(x[:, :, top:-top, left:-left].mean((2, 3)))
        return self.logit(self.drop(torch.cat(features, dim=1)))


def main() -> None:
    """Answer each line of stdin with milliseconds a step."""
    task = json.loads(sys.argv[1])
    size, batch = task["size"], task["batch"]
    network = Network(task["network"], task.get("indexes"))
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01)
    x = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
    x = x.to(memory_format=torch.channels_last)
    y = (torch.rand(batch, 1) > 0.5).float()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=task["bfloat16"]):
            logits = network(x)
        loss = functional.binary_cross_entropy_with_logits(logits.float(), y)
        loss.backward()
        optimizer.step()
        loss.item()

    for _ in range(3):
        step()
    print(f"PyTorch {torch.__version__}", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        for _ in range(task["steps"]):
            step()
        print(1000 * (time.perf_counter() - began) / task["steps"], flush=True)


if __name__ == "__main__":
    main()
