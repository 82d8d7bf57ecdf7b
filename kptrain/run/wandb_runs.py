"""Runs at Weights & Biases: each for one training; with `auto` online only where that works."""

import http.client
import os
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kptrain.config import TrainConfig
from kptrain.errors import SettingsError
from kptrain.resolve import settings_of

PATIENCE = 5.0
"""Seconds for its server to answer, with whatever."""
SWEEP = (
    *("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID"),
    *("WANDB_RESUME", "WANDB_LAUNCH", "WANDB_LAUNCH_CONFIG_PATH"),
)
"""What its agents set for the command that they start: before the id that a run asks for."""
_why_offline: dict[str, str] = {}
"""By server: why it is of no use to this process, or nothing. Found once."""

# Importing wandb takes a second, which most trainings need not pay.


def start_wandb_run(
    config: TrainConfig, run_dir: Path, name: str, group: str | None, run_id: str | None
) -> Any:
    """Start a run, or go on with the one of that id; without one, it is the agent's in a sweep.

    Raises: SettingsError.
    """
    import wandb  # noqa: PLC0415  (a second of start-up)

    def start(mode: str) -> Any:
        return wandb.init(
            project=config.wandb.project,
            mode=mode,  # type: ignore[arg-type]  # one that W&B knows
            dir=run_dir,
            name=name,
            group=group,
            id=run_id,
            resume="allow" if run_id else None,
            config=settings_of(config),
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )

    with outside_of_a_sweep() if run_id else nullcontext():
        mode = find_mode(config)
        run_dir.mkdir(parents=True, exist_ok=True)
        try:
            return start(mode)
        except (wandb.Error, ValueError) as error:
            if config.wandb.mode == "auto" and mode == "online":
                wandb.teardown()  # its process holds the id of a run that could not be started
                _stay_offline(_in_one_line(error))
                return start("offline")
            raise SettingsError(
                f"wandb.mode: must be a mode that can start a run here, but {mode} cannot: "
                f"{_in_one_line(error)}; or use auto, offline or disabled"
            ) from None


def find_mode(config: TrainConfig) -> str:
    """A mode that W&B knows: with `auto`, `offline` where there is no key, or it is of no use,
    which is said.

    Raises: SettingsError if W&B cannot read its own settings.
    """
    if config.wandb.mode != "auto":
        return config.wandb.mode
    import wandb  # noqa: PLC0415  (a second of start-up)

    url = _readable_server()
    try:
        if not wandb.login(prompt=False, verify=False):
            return "offline"
        if url not in _why_offline:
            # Its own look at the key takes 15 seconds where nobody answers.
            _stay_offline(_ask_patiently(url))
            if not _why_offline[url]:
                wandb.login(prompt=False)
    except (wandb.Error, OSError, ValueError) as error:  # the key is none, or none of the server's
        _stay_offline(_in_one_line(error))
    return "offline" if _why_offline[url] else "online"


@contextmanager
def outside_of_a_sweep() -> Iterator[None]:
    """Else all trials of a search that an agent started would be one run: the agent's."""
    kept = {name: os.environ.pop(name) for name in SWEEP if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def _server() -> str:
    import wandb  # noqa: PLC0415  (a second of start-up)

    url: str = wandb.setup(wandb.Settings(silent=True)).settings.base_url
    return url


def _readable_server() -> str:
    """The server, without the variables of this process's environment that W&B cannot read, as it
    starts no run with them, not even offline.

    Raises: SettingsError if what it cannot read stands elsewhere.
    """
    import wandb  # noqa: PLC0415  (a second of start-up)

    try:
        return _server()
    except (wandb.Error, ValueError):
        reasons = _leave_out_unreadable()
    try:
        url = _server()
    except (wandb.Error, ValueError) as error:
        raise SettingsError(
            f"wandb.mode: must be disabled where W&B cannot read its own settings, but got auto "
            f"({_in_one_line(error)}); correct them, or use disabled"
        ) from None
    told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    _stay_offline(told, "the environment")
    return url


def _leave_out_unreadable() -> dict[str, str]:
    """Drop them; why, by their names."""
    import wandb  # noqa: PLC0415  (a second of start-up)

    reasons = {}
    for name, value in os.environ.copy().items():
        try:
            wandb.Settings().update_from_env_vars({name: value})
        except (wandb.Error, ValueError) as error:
            del os.environ[name]
            reasons[name] = _in_one_line(error)
    return reasons


def _stay_offline(reason: str, of: str = "") -> None:
    """Remember why, and say it; without a reason, that it is not so. `of`: else the server."""
    url = _server()
    if reason and not _why_offline.get(url):
        print(
            f"wandb.mode: auto is offline here, as {of or url} is of no use ({reason}); "
            f"`wandb sync` sends later what is logged",
            flush=True,
        )
    _why_offline[url] = reason


def _ask_patiently(url: str) -> str:
    """Why a server does not answer; nothing if it does, if only with an error."""
    found: list[str] = []
    # A thread, as to look for a name may take minutes, which no timeout bounds.
    thread = threading.Thread(target=lambda: found.append(_ask(url)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return found[0] if found else f"no answer within {PATIENCE:g} seconds"


def _ask(url: str) -> str:
    try:
        urllib.request.urlopen(url, timeout=PATIENCE).close()  # noqa: S310  (W&B checked its scheme)
    except urllib.error.HTTPError:
        return ""
    except urllib.error.URLError as error:
        return "" if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except (OSError, ValueError) as error:
        return str(error)
    except http.client.HTTPException as error:
        return f"no HTTP: {type(error).__name__} {_in_one_line(error)[:60]}"
    return ""


def _in_one_line(error: Exception) -> str:
    text = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
    return " ".join(text.split()).rstrip(".")
