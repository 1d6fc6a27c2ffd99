import math

import pytest
import torch

from seefar.embed import VectorQuantizer


def trained(codes=4, dim=3, **options):
    torch.manual_seed(0)
    quantizer = VectorQuantizer(codes, dim, **options).double()
    quantizer(torch.randn(2, 20, dim, dtype=torch.float64))
    return quantizer


def test_each_vector_becomes_its_nearest_code():
    quantizer = trained().eval()
    k = torch.randn(2, 5, 3, dtype=torch.float64)
    found = quantizer(k)
    wanted = torch.cdist(k.view(1, 10, 3), quantizer.code[None])[0].argmin(1)
    assert torch.equal(found.which.flatten(), wanted)
    torch.testing.assert_close(found.codes.view(10, 3), quantizer.code[wanted])


def test_codes_are_the_moving_means_of_what_chose_them():
    quantizer = trained(decay=0.9)
    counts, sums, code = (part.clone() for part in (quantizer.counts, quantizer.sums, quantizer.code))
    k = torch.randn(50, 3, dtype=torch.float64)
    index = torch.cdist(k[None], code[None])[0].argmin(1)
    for s in range(4):
        mine = k[index == s]
        counts[s] = 0.9 * counts[s] + 0.1 * len(mine)
        sums[s] = 0.9 * sums[s] + 0.1 * mine.sum(0)
    quantizer(k)
    torch.testing.assert_close(quantizer.counts, counts)
    torch.testing.assert_close(quantizer.code, sums / counts[:, None], rtol=1e-3, atol=1e-4)


def test_they_find_the_centres_of_clusters():
    torch.manual_seed(1)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    quantizer = VectorQuantizer(3, 2, decay=0.9)
    quantizer(centres + 0.01)
    for _ in range(100):
        quantizer(centres[torch.randint(3, (60,))] + 0.1 * torch.randn(60, 2))
    apart = torch.cdist(centres, quantizer.code).amin(1)
    assert (apart < 0.1).all()


def test_the_gradient_passes_through_and_the_commitment_is_added():
    k = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    for commitment, training in ((0.0, True), (0.7, True), (0.0, False)):
        quantizer = trained(commitment=commitment if training else 0.7).train(training)
        before = quantizer.code.clone()
        found = quantizer(k)
        weight = torch.randn_like(k)
        (got,) = torch.autograd.grad((found.codes * weight).sum(), k)
        code = before[found.which]
        torch.testing.assert_close(found.codes.detach(), code)
        passed = k + (code - k).detach()
        wanted = (passed * weight).sum() + commitment * (k - code).square().sum(-1).mean()
        torch.testing.assert_close(got, torch.autograd.grad(wanted, k)[0])


def test_eval_and_masked_vectors_teach_nothing():
    quantizer = trained()
    k, mask = torch.randn(2, 5, 3, dtype=torch.float64), torch.arange(5) < torch.tensor([[5], [2]])
    before = {name: part.clone() for name, part in quantizer.state_dict().items()}
    quantizer.eval()(k)
    torch.testing.assert_close(dict(quantizer.state_dict()), before)
    quantizer.train()(k, mask)
    masked = quantizer.code.clone()
    quantizer.load_state_dict(before)
    quantizer(torch.cat([k[0], k[1, :2]]))
    torch.testing.assert_close(quantizer.code, masked)


def test_a_code_that_none_chooses_stays_where_it_is():
    quantizer = trained(decay=0.5)
    quantizer.code[0] = 100.0
    quantizer.sums[0] = 100 * quantizer.counts[0]
    for _ in range(30):
        quantizer(torch.randn(40, 3, dtype=torch.float64))
    assert quantizer.counts[0] < 1e-6 and ((quantizer.code[0] - 100).abs() < 2).all()


def test_usage_counts_every_vector_and_entropy_says_how_evenly():
    quantizer = trained()
    index = torch.tensor([[0, 0, 1, 1], [2, 2, 3, 3]])
    assert quantizer.usage(index).tolist() == [2, 2, 2, 2]
    assert quantizer.entropy(index) == pytest.approx(math.log(4))
    assert quantizer.entropy(torch.zeros(3, dtype=torch.int64)) == 0


def test_codes_are_saved_and_are_no_weights():
    quantizer, other = trained(), VectorQuantizer(4, 3).double()
    assert not list(quantizer.parameters())
    other.load_state_dict(quantizer.state_dict())
    k = torch.randn(7, 3, dtype=torch.float64)
    torch.testing.assert_close(other.eval()(k).codes, quantizer.eval()(k).codes)


def test_wrong_input_is_refused():
    for options, why in (
        ({"codes": 1}, "two codes"),
        ({"decay": 1.0}, "decay lies"),
        ({"commitment": -1}, "commitment"),
    ):
        with pytest.raises(ValueError, match=why):
            VectorQuantizer(**({"codes": 4, "dim": 3} | options))
    with pytest.raises(ValueError, match="no codes yet; run a batch in training"):
        VectorQuantizer(4, 3).eval()(torch.randn(5, 3))
    with pytest.raises(ValueError, match="codes have 3 channels"):
        trained()(torch.randn(5, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"counts in torch.float16 .* call .float\(\)"):
        trained().half()(torch.randn(5, 3).half())
    with pytest.raises(ValueError, match="every vector of the first batch is masked"):
        VectorQuantizer(4, 3)(torch.randn(5, 3), torch.zeros(5, dtype=torch.bool))


def test_half_precision_vectors_keep_exact_counts():
    quantizer = VectorQuantizer(2, 3)
    k = torch.randn(6000, 3).bfloat16()
    found = quantizer(k)
    assert found.codes.dtype == torch.bfloat16 and quantizer.counts.dtype == torch.float32
    assert int(quantizer.usage(found.which).sum()) == 6000
