"""Search the settings of `kptrain` with Ray Tune, Optuna and ASHA."""
