"""What the driver makes of Ray's texts."""

from search.driver import _cause_of_death


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
