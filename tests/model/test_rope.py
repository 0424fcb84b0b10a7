"""Rotary embedding: the formula written plainly, and what it must and must not depend on."""

import math

import torch

from ltx_live.model.rope import rope_tables, rotate


def plain_rotation(x, positions, max_pos, theta):
    """Pair by pair, in Python numbers: x and result (T, H, d)."""
    num_tokens, num_heads, head_dim = x.shape
    half, num_frequencies = head_dim // 2, num_heads * head_dim // (2 * len(max_pos))
    result = x.clone()
    for t in range(num_tokens):
        angles = [0.0] * (num_heads * half - num_frequencies * len(max_pos))
        for k in range(num_frequencies):
            frequency = theta ** (k / (num_frequencies - 1)) * math.pi / 2
            angles += [frequency * (2 * positions[a][t] / limit - 1) for a, limit in enumerate(max_pos)]
        for head in range(num_heads):
            for j in range(half):
                a, b = float(x[t, head, j]), float(x[t, head, j + half])
                cos, sin = math.cos(angles[head * half + j]), math.sin(angles[head * half + j])
                result[t, head, j] = a * cos - b * sin
                result[t, head, j + half] = b * cos + a * sin
    return result


def test_three_axes_equal_the_plain_formula():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 2, 16, generator=generator)
    positions = torch.rand(3, 5, generator=generator) * torch.tensor([20.0, 512, 512])[:, None]
    max_pos, theta = (20, 2048, 2048), 100.0  # a low theta, so that float32 angles are exact enough
    ours = rotate(x[None], rope_tables(positions[None], max_pos, (2, 16), theta))[0]
    torch.testing.assert_close(ours, plain_rotation(x, positions.tolist(), max_pos, theta), atol=1e-4, rtol=0)


def test_left_over_pairs_are_identity_in_front():
    positions = torch.rand(1, 3, 4) * 20
    rope = rope_tables(positions, (20, 2048, 2048), (2, 16), 10000.0)  # 16 pairs, 3 axes x 5 frequencies
    first = [0, 8]  # the first pair of the first head
    assert torch.equal(rope.cos[:, :, 0, first], torch.ones(1, 4, 2))
    assert torch.equal(rope.sin[:, :, 0, first], torch.zeros(1, 4, 2))
    assert (rope.sin[:, :, 0, 1] != 0).all()


def test_scores_depend_on_distance_only():
    generator = torch.Generator().manual_seed(1)
    q, k = (torch.randn(1, 6, 2, 16, generator=generator, dtype=torch.float64) for _ in range(2))
    time = torch.arange(6.0)[None, None] * 0.25

    def scores(positions):
        rope = rope_tables(positions, (20,), (2, 16), 10.0).to(q)
        return torch.einsum("bthd,bshd->bhts", rotate(q, rope), rotate(k, rope))

    torch.testing.assert_close(scores(time), scores(time + 3), atol=1e-5, rtol=0)
    assert (scores(time) - scores(time * 2)).abs().max() > 0.1
