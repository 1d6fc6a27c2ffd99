import pytest
import torch
import torch.nn.functional as F

from seefar.mixers import MLP, Attention, InitialAttention, InitialStack, column, initial_column
from seefar.positions import Rope
from seefar.testing import check_streaming


def make(pattern="A F A", **options):
    torch.manual_seed(0)
    more = {"F": lambda: MLP(8, ratio=2), "G": lambda: Attention(8, 2, window=3)}
    return initial_column(pattern, 8, A=lambda: InitialAttention(8, 4, **options), **more).double()


def tokens(length=13, seed=1):
    return torch.randn(2, length, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    "options", [{}, {"rope": Rope(2), "kv_heads": 2}, {"form": "absorbed", "kv_heads": 2, "bias": True}]
)
def test_streams(options):
    check_streaming(make(**options), tokens(33))


def test_streams_beside_mixers_with_states_of_their_own():
    check_streaming(make("A G F G A"), tokens(17))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(make()), tokens(17))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_both_forms_are_one_function_with_one_gradient(kv_heads, bias):
    forms = [make(kv_heads=kv_heads, bias=bias, form=form) for form in ("projected", "absorbed")]
    forms[1].load_state_dict(forms[0].state_dict())
    outs, gradients = [], []
    for stack in forms:
        x = tokens().requires_grad_()
        y = stack(x)[0]
        outs.append(y)
        # a bias of the keys is not used absorbed, and has no effect projected
        learnt = [x, *stack.parameters()]
        gradients.append(torch.autograd.grad(y.square().sum(), learnt, allow_unused=True, materialize_grads=True))
    torch.testing.assert_close(*outs, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)


def test_it_is_what_the_equation_says():
    stack, x = make("A F A", rope=None, kv_heads=2), tokens()
    h = x
    for norm, layer in zip(stack.norms, stack.layers, strict=True):
        if isinstance(layer, MLP):
            h = h + layer(norm(h))[0]
            continue
        q = layer.q_proj(norm(h)).view(2, 13, 4, 2)
        k, v = (proj(norm(x)).view(2, 13, 2, 2) for proj in (layer.k_proj, layer.v_proj))
        found = torch.zeros(2, 13, 4, 2, dtype=torch.float64)
        for n in range(13):
            for head in range(4):
                weight = (k[:, : n + 1, head // 2] @ q[:, n, head, :, None] / 2**0.5).softmax(1)
                found[:, n, head] = (weight * v[:, : n + 1, head // 2]).sum(1)
        h = h + layer.o_proj(found.flatten(2))
    torch.testing.assert_close(stack(x)[0], h, rtol=1e-10, atol=1e-10)


def test_the_first_layer_is_self_attention_and_the_second_is_not():
    ours, x = make("A A", rope=Rope(2)), tokens()
    theirs = column("A A", 8, A=lambda: Attention(8, 4, rope=Rope(2))).double()
    names = {"norm": "norms", "mixer": "layers"}
    parts = {name: name.split(".") for name in theirs.state_dict()}
    weights = ours.state_dict()
    theirs.load_state_dict({name: weights[".".join([names[p[2]], p[1], *p[3:]])] for name, p in parts.items()})
    first = InitialStack(8, [ours.layers[0]])
    first.norms = ours.norms[:1]
    torch.testing.assert_close(first(x)[0], theirs.blocks[0](x)[0])
    assert not torch.allclose(ours(x)[0], theirs(x)[0])


def test_transformers_llama_whose_keys_and_values_read_the_embeddings_agrees():
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=11, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, rms_norm_eps=1e-5,
    )  # fmt: skip
    torch.manual_seed(0)
    llama = LlamaModel(config).eval().double()
    ids = torch.randint(11, (2, 9))
    plain = llama(ids).last_hidden_state
    ours = initial_column(
        "(A F)*3",
        16,
        A=lambda: InitialAttention(16, 4, kv_heads=2, rope=Rope(4)),
        F=lambda: MLP(16, ratio=24 / 16 * 1.5, gated=True),
    ).double()
    for i, theirs in enumerate(llama.layers):
        ours.norms[2 * i].load_state_dict(theirs.input_layernorm.state_dict())
        ours.norms[2 * i + 1].load_state_dict(theirs.post_attention_layernorm.state_dict())
        ours.layers[2 * i].load_state_dict(theirs.self_attn.state_dict())
        for mine, other in (("gate", "gate_proj"), ("into", "up_proj"), ("out", "down_proj")):
            getattr(ours.layers[2 * i + 1], mine).load_state_dict(getattr(theirs.mlp, other).state_dict())
        for proj in (theirs.self_attn.k_proj, theirs.self_attn.v_proj):
            proj.register_forward_pre_hook(lambda _, __, norm=theirs.input_layernorm: (norm(llama.embed_tokens(ids)),))
    wanted = llama(ids).last_hidden_state
    got = llama.norm(ours(llama.embed_tokens(ids))[0])
    torch.testing.assert_close(got, wanted, rtol=1e-6, atol=1e-6)  # transformers turns by angles of float32
    assert not torch.allclose(got, plain, atol=1e-3)


def test_what_a_token_became_in_the_middle_changes_no_other():
    def disturbed(stack, layer, x):
        def push(_, __, output):
            moved = output[0] if isinstance(output, tuple) else output
            moved = moved + F.one_hot(torch.tensor(4), x.shape[1]).to(x)[:, None]
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        before = stack(x)[0]
        handle = layer.register_forward_hook(push)
        after = stack(x)[0]
        handle.remove()
        return (after - before).abs().amax((0, 2)) > 1e-12

    here = F.one_hot(torch.tensor(4), 13).bool()
    stack, x = make("A F A F A"), tokens()
    for layer in stack.layers:
        assert torch.equal(disturbed(stack, layer, x), here)
    other = column("A F A", 8, A=lambda: Attention(8, 4)).double()
    assert disturbed(other, other.blocks[1].mixer, x)[5:].all(), "self-attention should see it"


def test_the_state_is_one_vector_a_token_for_all_layers():
    stack, x = make("(A F)*5"), tokens(40)
    state = stack(x)[1]
    assert state.c_BMD.numel() == x.numel() and state.others == ((),) * 5


def test_remembering_gives_the_state_of_a_pass_without_one():
    stack, x = make("A F A"), tokens()
    ran = []
    for layer in stack.layers:
        layer.register_forward_hook(lambda *_: ran.append(1))
    state = stack.remember(x[:, 5:12], stack.remember(x[:, :5]))
    assert not ran
    y, end = stack(x[:, 12:], state)
    whole, wanted = stack(x)
    torch.testing.assert_close(y, whole[:, 12:], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(end, wanted)


def test_few_queries_are_absorbed_and_many_are_not():
    layer = InitialAttention(12, 4, kv_heads=2)  # 6 numbers of keys: 3 n <= 6
    made = []
    layer.k_proj.register_forward_hook(lambda *_: made.append(1))
    initial = torch.randn(1, 20, 12)
    for n, projected in ((1, 0), (2, 0), (3, 1), (20, 1)):
        made.clear()
        layer(initial[:, -n:], initial)
        assert len(made) == projected, n
    layer = InitialAttention(12, 3, rope=Rope(4))
    layer.k_proj.register_forward_hook(lambda *_: made.append(2))
    layer(initial[:, -1:], initial)
    assert made[-1] == 2


def test_wrong_input_is_refused():
    for options, why in (
        ({"heads": 3}, "heads must divide dim=8"),
        ({"heads": 4, "kv_heads": 3}, "kv_heads must divide"),
        ({"heads": 4, "rope": Rope(4)}, "a head has 2 channels"),
        ({"heads": 4, "rope": Rope(2), "form": "absorbed"}, "can't be absorbed"),
        ({"heads": 4, "form": "both"}, "'projected', 'absorbed' or None"),
    ):
        with pytest.raises(ValueError, match=why):
            InitialAttention(8, **options)
    x = tokens()
    with pytest.raises(ValueError, match="into an InitialStack"):
        column("A F", 8, A=lambda: InitialAttention(8, 4)).double()(x)
    with pytest.raises(ValueError, match="must hold every token"):
        InitialAttention(8, 4).double()(x, x[:, :5])
    with pytest.raises(ValueError, match="at least one layer"):
        InitialStack(8, [])
    with pytest.raises(ValueError, match=r"layers \[1\] are not causal"):
        InitialStack(8, [InitialAttention(8, 4), Attention(8, 4, causal=False)])
    with pytest.raises(ValueError, match="no maker for B"):
        initial_column("A B", 8, A=lambda: InitialAttention(8, 4))
    with pytest.raises(ValueError, match=r"layers \[1\] hold states"):
        make("A G").remember(x)


def test_a_state_of_something_else_is_refused():
    from transformers import DynamicCache

    stack, x = make(), tokens()
    state = stack(x)[1]
    with pytest.raises(ValueError, match="own InitialState, got DynamicCache"):
        stack(x, DynamicCache())
    with pytest.raises(ValueError, match="the embeddings and the stack that it came from"):
        stack(x[:1], state)
    with pytest.raises(ValueError, match="the embeddings and the stack"):
        stack(x, state._replace(c_BMD=state.c_BMD[..., :6]))
    with pytest.raises(ValueError, match="1 states of other layers"):
        make("A F F A")(x, state)
