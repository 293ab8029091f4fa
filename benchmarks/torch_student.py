"""A ResNet as students train it in plain PyTorch, for benchmarks/time_to_quality.py.

python benchmarks/torch_student.py JSON, where PyTorch, NumPy and scikit-learn are installed. JSON
has `images` (a .npy file, uint8 [n, h, w, 3]), `labels` (a .npy file), `train` and `valid` (rows,
.npy files), `widths`, `stem_stride`, `crop`, `batch`, `epochs`, `rate` and `seed`. Autocast to
bfloat16, channels last, AdamW with a cosine schedule, the eight symmetries and colour jitter. After
each epoch it prints the validation AUC of one view.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.nn import functional
from torch_steps import Network


def main() -> None:
    """Train, one line of output an epoch."""
    task: dict[str, Any] = json.loads(sys.argv[1])
    torch.manual_seed(task["seed"])
    rng = np.random.default_rng(task["seed"])
    images, labels = np.load(task["images"], mmap_mode="r"), np.load(task["labels"])
    train = cut(images, np.load(task["train"]), task["crop"])
    valid = cut(images, np.load(task["valid"]), task["crop"])
    train_labels = torch.from_numpy(labels[np.load(task["train"])]).float()[:, None]
    valid_labels = labels[np.load(task["valid"])]
    config = {"widths": task["widths"], "stem_stride": task["stem_stride"]}
    network = Network({**config, "blocks": 1, "dropout": 0.0}, None)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=task["rate"], weight_decay=0.01)
    steps = len(train) // task["batch"]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * task["epochs"])
    for _ in range(task["epochs"]):
        network.train()
        order = rng.permutation(len(train))[: steps * task["batch"]]
        for rows in order.reshape(steps, -1):
            x = augmented(train[rows], rng)
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(x)
            loss = functional.binary_cross_entropy_with_logits(logits.float(), train_labels[rows])
            loss.backward()
            optimizer.step()
            schedule.step()
        print(roc_auc_score(valid_labels, predict(network, valid)), flush=True)


def cut(images: Any, rows: Any, crop: int) -> torch.Tensor:
    """The centres of the patches, uint8 [n, 3, crop, crop] with channels last."""
    start = (images.shape[1] - crop) // 2
    taken = images[rows, start : start + crop, start : start + crop]
    return torch.from_numpy(taken).permute(0, 3, 1, 2)


def augmented(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """One symmetry for each quarter of the batch, and brightness, contrast and saturation."""
    parts = []
    for part in x.chunk(4):
        part = torch.rot90(part, int(rng.integers(4)), (2, 3))
        parts.append(part.flip(3) if rng.random() < 0.5 else part)
    x = torch.cat(parts).float().contiguous(memory_format=torch.channels_last)
    bright, contrast, colour = (
        torch.from_numpy(rng.uniform(0.8, 1.2, (len(x), 1, 1, 1)).astype(np.float32))
        for _ in range(3)
    )
    x = x * bright
    x = (x - x.mean((1, 2, 3), keepdim=True)) * contrast + x.mean((1, 2, 3), keepdim=True)
    grey = x.mean(1, keepdim=True)
    return ((x - grey) * colour + grey).clamp_(0, 255)


@torch.no_grad()
def predict(network: Network, images: torch.Tensor) -> Any:
    """Logits of all patches, in one view."""
    network.eval()
    with torch.autocast("cpu", torch.bfloat16):
        parts = [network(batch)[:, 0].float() for batch in images.split(256)]
    return torch.cat(parts).numpy()


if __name__ == "__main__":
    main()
