"""ltx_live: a live instrument that plays LTX-2.3, a diffusion transformer for video with synchronized sound."""

__version__ = "0.5.0"
