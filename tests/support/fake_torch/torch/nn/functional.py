"""Attention: 4 FLOP per query, key and width, half of them under a causal mask."""

from torch import cuda


def scaled_dot_product_attention(queries, keys, values, is_causal=False, attn_mask=None, enable_gqa=False):
    assert keys.shape == values.shape
    (batch, heads, rows, width), (_, kv_heads, seen, _) = queries.shape, keys.shape
    assert enable_gqa == (kv_heads < heads)
    assert attn_mask in {None, (rows, seen)}
    assert not is_causal or rows == seen
    half = 2 if is_causal else 1
    cuda.work(4e-12 * batch * heads * rows * seen * width / half)
