"""The backend: runs trials with Ray Tune. Only this folder imports Ray."""
