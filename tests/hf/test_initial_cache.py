"""One store behind all layers: rows are chosen once, not once a layer."""

import torch

from seefar.hf.initial_cache import InitialCache


def filled(layers=3):
    cache = InitialCache([lambda c, places: (c[:, None] + places[:, None, :, None], c[:, None])] * layers, owner=None)
    cache.append(torch.arange(24.0).view(2, 4, 3), torch.arange(4)[None])
    return cache


def test_layers_make_what_is_before_and_take_what_is_new():
    cache, new = filled(), torch.ones(2, 1, 1, 3)
    k, v = cache.update(new, 2 * new, 1)
    old = cache.initial[:, :3]
    torch.testing.assert_close(k, torch.cat([old + torch.arange(3.0)[:, None], new[:, 0]], 1)[:, None])
    torch.testing.assert_close(v, torch.cat([old, 2 * new[:, 0]], 1)[:, None])
    assert cache.get_mask_sizes(5, 0) == (9, 0) and cache.get_seq_length(2) == 4


def test_rows_are_reordered_repeated_and_chosen_once():
    rows = filled().initial
    for change, want in (
        (lambda cache: cache.reorder_cache(torch.tensor([1, 1])), rows[[1, 1]]),
        (lambda cache: cache.batch_repeat_interleave(2), rows[[0, 0, 1, 1]]),
        (lambda cache: cache.batch_select_indices(torch.tensor([1])), rows[[1]]),
        (lambda cache: cache.crop(3), rows[:, :1]),
    ):
        cache = filled()
        change(cache)
        torch.testing.assert_close(cache.initial, want)
        assert cache.places.shape == want.shape[:2]


def test_a_reset_forgets():
    cache = filled()
    cache.reset()
    assert cache.get_seq_length() == 0 and cache.initial is None
