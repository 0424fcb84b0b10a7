"""Checkpoint files: found, checked and loaded into the networks of `ltx_live.model`."""
