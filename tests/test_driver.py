"""What the driver makes of Ray's texts."""

from pathlib import Path

from search.asha import Asha
from search.budget import Spending
from search.driver import Listed, _Proposals
from search.failure import _cause_of_death
from search.record import Record
from search.space import read_space, resolve_space


def test_the_cause_of_an_actor_that_did_not_start_is_its_last_line() -> None:
    text = (
        "The actor died because of an error raised in its creation task, "
        "\x1b[36mray::KeypointTrial.__init__()\x1b[39m (pid=1)\n"
        '  File "x.py", line 1\nRuntimeError: CUDA is not there\n'
    )
    assert _cause_of_death(text) == "RuntimeError: CUDA is not there"


def test_a_process_that_is_gone_is_said_to_be_so() -> None:
    text = "The actor died unexpectedly before finishing this task.\n\tclass_name: X"
    assert _cause_of_death(text).startswith("the trial's process died")


def test_a_trial_out_of_memory_is_not_tried_again_once_the_budget_is_spent(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("space: {optim.lr: {low: 1e-4, high: 1e-2}}\nepochs: 9\n")
    space = read_space(path)
    base = resolve_space(space, {"data.root": "embedded"})
    spending = Spending(space, space.asha.grace_epochs)
    proposals = _Proposals(
        space, base, Record(tmp_path, "val_loss"), 0.25, Listed([]), spending, Asha([3], 3)
    )
    for number in (0, 1):  # four epochs each
        spending.begin(number)
    assert not proposals.try_again(0)
    spending.end(0)
    assert proposals.try_again(0)
    assert not spending.may_begin()
