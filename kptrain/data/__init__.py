"""From image files to packs: decoded once per machine, memory-mapped, shared by all trainings."""
