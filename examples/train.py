"""One training from Python, on the synthetic data set."""

from contextlib import closing
from pathlib import Path

from kptrain import TrainConfig, fit

config = TrainConfig(
    data={"root": "embedded", "image_size": [64, 64], "limit_train": 64, "limit_val": 32},
    model={"trunk": "shufflenet_v2_x0_5", "deconv_channels": [16, 16, 16], "weights": "none"},
    heatmap={"sigma_px": 1.0},
    train={"epochs": 2},
)
with closing(fit(config, Path("runs/example"))) as reports:
    for report in reports:
        print(report.epoch, report.val_loss, report.val_oks, report.val_ap)
