"""What `python -m kptrain` does beside training: evaluate, predict, show and export."""
