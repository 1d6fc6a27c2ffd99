import pytest
import torch

from seefar.embed import VectorQuantizer
from seefar.evals.streamed import stretch_after
from seefar.mixers import Attention, GatedMixer, VQAttention


def test_the_call_mixes_one_stretch_after_the_stream_and_bytes_are_those_of_its_state():
    mixer, seen = Attention(8, 2), []
    prepare = stretch_after(mixer, 8, at_once=5)
    mixer.register_forward_hook(lambda _, inputs, out: seen.append((inputs[0].shape[1], out[1].seen)))
    call, held = prepare(15)
    assert seen == [(5, 5), (5, 10), (5, 15)] and held == 2 * 15 * 8 * 4
    call()
    call()
    assert seen[3:] == [(5, 20), (5, 20)]
    assert not mixer.training and prepare(0)[1] == 0


def test_a_mixer_that_takes_codes_from_its_first_batch_gets_them():
    quantizer = VectorQuantizer(4, 6)
    mixer = GatedMixer(8, memory=None, attention=VQAttention(quantizer, block=3), width=6)
    sizes = {stretch_after(mixer, 8, at_once=5)(age)[1] for age in (5, 50)}
    assert bool(quantizer.ready) and len(sizes) == 1


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="not causal reads no stream"):
        stretch_after(Attention(8, 2, causal=False), 8)
    with pytest.raises(ValueError, match="5 tokens at a time, got 7"):
        stretch_after(Attention(8, 2), 8, at_once=5)(7)
    assert torch.is_grad_enabled()
