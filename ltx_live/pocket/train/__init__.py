"""Training of the pocket model, one component at a time: `python -m ltx_live.pocket.train --help`."""
