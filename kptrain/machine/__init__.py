"""The machine: cores, device, disk, locks and terminal."""
