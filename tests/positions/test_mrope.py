import pytest
import torch

from seefar.positions.mrope import FilmPlaces, mrope, raster, time_offsets

VIDEO, TEXT = 7, 1


def tiny_qwen(tokens_per_second):
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "num_key_value_heads": 1,
            "vocab_size": 16,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
        },
        vision_config={
            "depth": 1,
            "hidden_size": 8,
            "num_heads": 1,
            "intermediate_size": 8,
            "out_hidden_size": 8,
            "tokens_per_second": tokens_per_second,
        },
        video_token_id=VIDEO,
        image_token_id=8,
    )
    return Qwen2_5_VLModel(config)


@pytest.mark.parametrize(
    ("steps", "height", "width", "per_second", "interval"),
    [(20, 3, 5, 2, 2.0), (1, 4, 4, 25, 1.0), (9, 2, 3, 4, 0.75), (7, 6, 2, 2, 0.3)],
)
def test_the_transformers_rule_equals_its_own_get_rope_index(steps, height, width, per_second, interval):
    model = tiny_qwen(per_second)
    n = steps * height * width
    ids = torch.tensor([[TEXT] * 5 + [VIDEO] * n + [TEXT] * 6])
    want, _ = model.get_rope_index(
        ids,
        mm_token_type_ids=(ids == VIDEO).int() * 2,
        video_grid_thw=torch.tensor([[steps, 2 * height, 2 * width]]),
        second_per_grid_ts=torch.tensor([interval], dtype=torch.float64),
    )
    film = raster(time_offsets(torch.arange(steps, dtype=torch.float64) * interval, per_second), height, width)
    got = mrope([5, film, 6], compat="transformers")
    assert torch.equal(got[1:], want)
    assert torch.equal(got[0, 0], torch.arange(ids.shape[1]))


def test_the_published_rule_lets_text_go_on_after_the_largest_position_of_a_long_film():
    """Pins where transformers 5.23 differs: an upstream repair makes the second half fail, which is its purpose."""
    film = raster(time_offsets(torch.arange(20, dtype=torch.float64), 4), 3, 5)
    text = mrope([5, film, 6])[1:, 0, -6:]
    assert torch.equal(text, (5 + 19 * 4 + 1 + torch.arange(6)).expand(3, 6))

    ids = torch.tensor([[TEXT] * 5 + [VIDEO] * 300 + [TEXT] * 6])
    theirs, delta = tiny_qwen(4).get_rope_index(
        ids,
        mm_token_type_ids=(ids == VIDEO).int() * 2,
        video_grid_thw=torch.tensor([[20, 6, 10]]),
        second_per_grid_ts=torch.tensor([1.0]),
    )
    assert theirs[:, 0, -6:].tolist() == [list(range(10, 16))] * 3
    assert int(delta) + ids.shape[1] == 5 + 19 * 4 + 1, "its own generate goes on from the maximum instead"


def test_both_rules_agree_where_the_picture_is_larger_than_the_film_is_long():
    film = raster(torch.arange(4), 6, 9)
    assert torch.equal(mrope([2, film, 3]), mrope([2, film, 3], compat="transformers"))


def test_taking_tokens_out_of_a_film_moves_no_other_token():
    film = raster(torch.tensor([0, 4, 9]), 2, 3)
    whole = mrope([4, film, 5])
    keep = torch.tensor([1, 7, 8, 16])
    some = mrope([4, FilmPlaces(film.t[keep], film.h[keep], film.w[keep], film.extent), 5])
    assert torch.equal(some[1:, :, 4:8], whole[1:, :, 4 + keep])
    assert torch.equal(some[1:, :, 8:], whole[1:, :, -5:])
    assert torch.equal(some[0, 0], torch.arange(13))


def test_uneven_frames_claim_their_true_time():
    seconds = torch.tensor([3.0, 3.5, 10.0, 10.26], dtype=torch.float64)
    assert time_offsets(seconds, 4).tolist() == [0, 2, 28, 29]


def test_a_tenth_of_a_second_is_not_rounded_away():
    seconds = torch.arange(200, dtype=torch.float64) * 0.1
    assert time_offsets(seconds, 10).tolist() == list(range(200))


def test_two_films_follow_each_other():
    a, b = raster(torch.arange(3), 1, 1), raster(torch.arange(2), 1, 2)
    got = mrope([1, a, 1, b, 1])[1:, 0]
    assert got[0].tolist() == [0, 1, 2, 3, 4, 5, 5, 6, 6, 7]
    assert got[2].tolist() == [0, 1, 1, 1, 4, 5, 6, 5, 6, 7]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="'old'"):
        mrope([1], compat="old")
    with pytest.raises(ValueError, match="-1"):
        mrope([-1])
