"""The networks of LTX-2.3 and the maths around them: torch only, no files, devices or flags.

Letters in shape comments: B batch, T tokens, S text tokens, D width of a token, C latent channels, H attention heads,
d width of a head, K distinct timesteps, R rows of a modulation table, L states of the text encoder, F frames,
h and w height and width, A positional axes (time, height, width).
"""
