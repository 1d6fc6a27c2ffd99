import pytest
import torch

from seefar.backbones import SequenceModel, read_prompt
from seefar.mixers import Attention, InitialAttention, column, initial_column


def model(**options):
    torch.manual_seed(0)
    return SequenceModel(
        initial_column("(A F)*2", 8, A=lambda: InitialAttention(8, 2)), 8, 11, words=11, **options
    ).double()


@pytest.mark.parametrize("options", [{}, {"positions": 40}])
def test_a_prompt_read_by_its_last_token_gives_what_all_tokens_give(options):
    net, ids = model(**options), torch.randint(11, (2, 30), generator=torch.Generator().manual_seed(0))
    whole, end = net(ids)
    scores, state = read_prompt(net, ids[:, :20])
    torch.testing.assert_close(scores, whole[:, 19:20])
    scores, state = read_prompt(net, ids[:, 20:29], state)
    torch.testing.assert_close(scores, whole[:, 28:29])
    scores, state = read_prompt(net, ids[:, 29:], state)
    torch.testing.assert_close((scores, state), (whole[:, 29:], end))


def test_the_layers_run_for_one_token():
    net, seen = model(), []
    for layer in net.column.layers:
        layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    read_prompt(net, torch.zeros(1, 50, dtype=torch.int64))
    assert seen == [1, 1, 1, 1]


def test_wrong_input_is_refused():
    ids = torch.zeros(1, 5, dtype=torch.int64)
    with pytest.raises(ValueError, match="in a Stack later tokens need what earlier ones became"):
        read_prompt(SequenceModel(column("A F", 8, A=lambda: Attention(8, 2)), 8, 11, words=11), ids)
    with pytest.raises(ValueError, match="positions go to 4"):
        read_prompt(model(positions=4), ids)
