"""What the machine gives: cores, a device, room on the disk, locks and a terminal."""
