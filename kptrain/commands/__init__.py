"""The commands of `python -m kptrain`: train, evaluate, predict, show and export."""
