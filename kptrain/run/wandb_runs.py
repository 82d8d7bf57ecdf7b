"""Starts runs at Weights & Biases, one per training; with `auto`, offline if online fails."""

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
"""Seconds within which the server must answer."""
SWEEP = (
    *("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_RUN_ID"),
    *("WANDB_RESUME", "WANDB_LAUNCH", "WANDB_LAUNCH_CONFIG_PATH"),
)
"""Variables that W&B's agents set; they take precedence over a run's own id."""
_why_offline: dict[str, str] = {}
"""By server: why this process cannot use it, or an empty text. Checked once."""

# wandb is imported only when needed: that takes a second.


def start_wandb_run(
    config: TrainConfig, run_dir: Path, name: str, group: str | None, run_id: str | None
) -> Any:
    """Start a run, or resume the one with `run_id`. Without an id, a sweep's agent chooses the run.

    Raises: SettingsError if no run can be started.
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
                wandb.teardown()  # its process holds the id of the run that failed to start
                _stay_offline(_in_one_line(error))
                return start("offline")
            raise SettingsError(
                f"wandb.mode: must be a mode that can start a run here, but {mode} cannot: "
                f"{_in_one_line(error)}; or use auto, offline or disabled"
            ) from None


def find_mode(config: TrainConfig) -> str:
    """A mode of W&B: with `auto`, `offline` if there is no key, or (with a printed reason) if the
    server cannot be used.

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
            # W&B's own check of the key takes 15 seconds if there is no answer.
            _stay_offline(_fault_of(url))
            if not _why_offline[url]:
                wandb.login(prompt=False)
    except (wandb.Error, OSError, ValueError) as error:  # the key is malformed or refused
        _stay_offline(_in_one_line(error))
    return "offline" if _why_offline[url] else "online"


@contextmanager
def outside_of_a_sweep() -> Iterator[None]:
    """Without an agent's variables, which would log all trials of a search to the agent's run."""
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
    """The server. Removes variables that W&B cannot read from this process's environment, because
    W&B would start no run, not even offline.

    Raises: SettingsError if W&B still cannot read its settings.
    """
    import wandb  # noqa: PLC0415  (a second of start-up)

    try:
        return _server()
    except (wandb.Error, ValueError):
        reasons = _remove_unreadable()
    try:
        url = _server()
    except (wandb.Error, ValueError) as error:
        raise SettingsError(
            f"wandb.mode: must be disabled where W&B cannot read its own settings, but got auto "
            f"({_in_one_line(error)}); correct them, or use disabled"
        ) from None
    invalid = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    _stay_offline(invalid, "the environment")
    return url


def _remove_unreadable() -> dict[str, str]:
    """Remove variables that W&B cannot read; returns the reasons by name."""
    import wandb  # noqa: PLC0415  (a second of start-up)

    reasons = {}
    for name, value in os.environ.copy().items():
        try:
            wandb.Settings().update_from_env_vars({name: value})
        except (wandb.Error, ValueError) as error:
            del os.environ[name]
            reasons[name] = _in_one_line(error)
    return reasons


def _stay_offline(reason: str, source: str = "") -> None:
    """Record and print the reason to stay offline; empty: none. `source`: by default the server."""
    url = _server()
    if reason and not _why_offline.get(url):
        print(
            f"wandb.mode: auto is offline here, because {source or url} cannot be used ({reason}); "
            f"`wandb sync` uploads the logs later",
            flush=True,
        )
    _why_offline[url] = reason


def _fault_of(url: str) -> str:
    """Why a server does not answer; empty if it does, even with an error."""
    faults: list[str] = []
    # In a thread, because no timeout limits the resolution of a name, which may take minutes.
    thread = threading.Thread(target=lambda: faults.append(_ask(url)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return faults[0] if faults else f"no answer within {PATIENCE:g} seconds"


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
