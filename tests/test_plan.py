"""What a search can cost, said before it starts."""

from pathlib import Path

import pytest

from search.plan import concurrent_trials, describe_plan
from search.space import read_space, resolve_space


@pytest.mark.parametrize(
    ("cpu", "gpu", "num_cpus", "num_gpus", "expected"),
    [
        (1, 0.0, 2, 0, 2),
        (2, 0.0, 5, 0, 2),
        (4, 0.0, 2, 0, 0),
        (1, 0.25, 16, 1, 4),
        (1, 0.25, 3, 1, 3),
        (1, 0.3, 16, 1, 3),
        (1, 0.6, 16, 2, 2),
        (1, 1.0, 16, 2, 2),
    ],
)
def test_as_many_trials_run_at_once_as_cores_and_shares_allow(
    cpu: int, gpu: float, num_cpus: int, num_gpus: int, expected: int
) -> None:
    assert concurrent_trials(cpu, gpu, num_cpus, num_gpus) == expected


def test_the_plan_names_trials_rungs_concurrency_and_the_most_epochs(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "space: {optim.lr: {low: 1e-4, high: 1e-2, log: true}}\n"
        "trials: 12\nasha: {grace_epochs: 2, reduction: 3}\nresources: {cpu: 1, gpu: 0.5}\n"
    )
    space = read_space(path)
    base = resolve_space(space, {"data.root": "embedded", "train.epochs": 20})
    plan = describe_plan(space, base, num_gpus=1)
    assert "optim.lr: from 0.0001 to 0.01" in plan
    assert "12, judged by val_loss" in plan
    assert "after epoch 2, 6, 18: one in 3 goes on" in plan
    assert "1 CPU and 0.5 GPU" in plan
    assert "240 epochs (12 trials of 20)" in plan
    assert "no GPU found" in describe_plan(space, base, num_gpus=0)
    short = resolve_space(space, {"data.root": "embedded", "train.epochs": 2})
    assert "ASHA      stops none" in describe_plan(space, short, num_gpus=0)
