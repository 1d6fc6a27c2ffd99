"""Associative recall measured: of a memory alone, of a trained model, and what a segment costs after a long past."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.evals.protocols import Arm, Curves, Figure, Measure, Setting
from seefar.mixers.associative import AssociativeState, WriteRule, dpfp
from seefar.mixers.segments import Segments
from seefar.synthetic.recall import SYMBOLS, VOCABULARY, RecallTask, as_numbers
from seefar.training.curriculum import Curriculum
from seefar.training.fit import fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class MakeTask(Protocol):
    """``associative_recall`` or ``rewriting_recall``."""

    def __call__(self, count: int, pairs: int, *, key_size: int, value_size: int = 1, seed: int) -> RecallTask: ...


def decoder(dim: int, layers: int, *, heads: int = 2, positions: int = 2048) -> PreTrainedModel:
    """A GPT-NeoX of random weights over the vocabulary of the task."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=dim,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * dim,
        max_position_embeddings=positions,
        bos_token_id=None,
        eos_token_id=None,
    )
    return GPTNeoXForCausalLM(config)


def memory_alone(
    rule: WriteRule, make: MakeTask, *, key_size: int, streams: int = 16, width: int = 64, dim: int = 128, nu: int = 3
) -> Arm:
    """Share of keys whose value an associative memory gives back, by the number of pairs; nothing is trained.

    Every key of the task is a random vector and every value, in each stream anew, one of length one. Pairs are written
    one by one at full strength; then each key is looked up, and what was found is the value whose vector fits best.

    Args:
        rule: how the memory is written and read.
        make: the task.
        key_size: symbols of a key.
        streams: samples of the task.
        width: of a key before its features.
        dim: of a value.
        nu: shifts of DPFP.
    """

    def prepared(seed: int) -> Measure:
        generator = torch.Generator().manual_seed(seed)
        key_codes = dpfp(torch.randn(SYMBOLS**key_size, width, generator=generator), nu)
        value_codes = F.normalize(torch.randn(streams, SYMBOLS, dim, generator=generator), dim=-1)

        def measure(pairs: int) -> float:
            task = make(streams, pairs, key_size=key_size, seed=seed)
            k, values = key_codes[as_numbers(task.keys)], as_numbers(task.values)
            v, full = value_codes[torch.arange(streams)[:, None], values], torch.ones(streams, 1)
            state: AssociativeState | None = None
            for t in range(pairs):
                state = rule.write(state, k[:, t, None], v[:, t, None], full)
            assert state is not None
            found = (rule.read(state, k) @ value_codes.mT).argmax(-1)
            return (found == values)[task.latest].double().mean().item()

        return measure

    return prepared


def trained(
    build: Callable[[], Segments],
    make: MakeTask,
    lessons: Curriculum[int],
    setting: Setting,
    *,
    key_size: int,
    batch: int = 512,
    tests: int = 1000,
    lr: float = 1e-3,
) -> Arm:
    """Exact match of a model trained on the task, by the number of pairs, on samples that training did not see.

    Args:
        build: the model with its memory.
        make: the task.
        lessons: most pairs of a sample; every batch has from one pair up to as many.
        setting: the scale.
        key_size: symbols of a key.
        batch: samples of a step.
        tests: samples held out.
        lr: the highest learning rate.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def prepared(seed: int) -> Measure:
        torch.manual_seed(seed)
        model = build().to(device)

        def samples(step: int) -> RecallTask:
            generator = torch.Generator().manual_seed(step)
            pairs = int(torch.randint(1, lessons(step) + 1, (), generator=generator))
            return make(batch, pairs, key_size=key_size, seed=1000 * (step + 1) + seed)

        def loss(net: nn.Module, task: RecallTask) -> tuple[Tensor, dict[str, float]]:
            logits, _ = net(task.ids.to(device))
            last = logits[:, -task.segment : -1].flatten(0, 1)
            return F.cross_entropy(last, task.labels[:, 1 - task.segment :].flatten().to(device)), {}

        fit(model, samples, loss, steps=lessons.steps, lr=lr, progress=setting.progress)

        @torch.inference_mode()
        def exact_match(pairs: int) -> float:
            task = make(tests, pairs, key_size=key_size, seed=seed)
            logits, _ = model(task.ids.to(device))
            return task.found_by(logits[:, -task.segment :].cpu()).double().mean().item()

        return exact_match

    return prepared


Aged = Callable[[int], tuple[Callable[[], Any], int]]
"""``prepare(segments read before)`` gives a call, and the bytes of what it remembers."""


def cost_after(
    arms: Mapping[str, Aged], ages: Sequence[int], setting: Setting, *, repeats: int = 15
) -> tuple[Curves, dict[str, dict[int, int]]]:
    """Seconds of one and the same call, and bytes remembered, by the number of segments that were read before it.

    Seconds are the shortest of ``repeats`` calls after one to warm up: the processor's own, which others on the same
    core do not move, or by the clock where a GPU does the work. All ages of all arms take turns, each time in another
    order, so that a busy moment hits them alike and none always finds the cache as the largest left it: they are to be
    compared with each other.

    Args:
        arms: by name.
        ages: segments read before; they rise.
        setting: the scale; seeds play no part.
        repeats: calls that are timed.
    """
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    ready = {(arm, age): prepare(age) for arm, prepare in arms.items() for age in ages}
    best = dict.fromkeys(ready, math.inf)
    for done in range(repeats + 1):
        for key in random.Random(done).sample(list(ready), len(ready)):
            began = clock()
            ready[key][0]()
            if done > 0:
                best[key] = min(best[key], clock() - began)
        if setting.progress is not None:
            setting.progress("cost after", done, repeats)
    seconds = Curves({arm: {age: Figure((best[arm, age],)) for age in ages} for arm in arms})
    return seconds, {arm: {age: ready[arm, age][1] for age in ages} for arm in arms}


def segments_after(segments: Segments, *, at_once: int = 20, seed: int = 0) -> Aged:
    """For ``cost_after``: ``at_once`` segments of random tokens, read after a stream of others.

    Matrices that begin at zero are drawn like the others, or the memory would stay empty.

    Raises:
        FloatingPointError: the stream drove the state out of all bounds.
    """
    generator = torch.Generator().manual_seed(seed)
    segments.eval()
    with torch.no_grad():
        for weight in segments.parameters():
            if weight.ndim == 2 and not weight.any():
                weight.normal_(0, weight.shape[1] ** -0.5, generator=generator)
    words = int(segments.model.config.get_text_config().vocab_size)

    def text(count: int) -> Tensor:
        return torch.randint(words, (1, count * segments.segment), generator=generator)

    seen, state, some = 0, None, text(at_once)

    @torch.inference_mode()
    def prepare(age: int) -> tuple[Callable[[], Any], int]:
        nonlocal seen, state
        while seen < age:
            count = min(100, age - seen)
            state, seen = segments(text(count), state)[1], seen + count
        held = segments.memory.pack(state).values()
        if not all(tensor.isfinite().all() for tensor in held):
            raise FloatingPointError(f"segments_after: the state is no longer finite after {age} segments")
        past = state
        return lambda: torch.inference_mode()(segments)(some, past), sum(tensor.nbytes for tensor in held)

    return prepare


def cache_after(model: PreTrainedModel, segment: int, *, at_once: int = 20, seed: int = 0) -> Aged:
    """For ``cost_after``: the same with the model's own cache of all keys and values, here random ones."""
    from transformers import DynamicCache

    generator = torch.Generator().manual_seed(seed)
    config = model.config.get_text_config()
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    ids = torch.randint(config.vocab_size, (1, at_once * segment), generator=generator)
    model.eval()

    def prepare(age: int) -> tuple[Callable[[], Any], int]:
        cache = DynamicCache(config=model.config)
        for layer in range(config.num_hidden_layers):
            k, v = torch.randn(2, 1, heads, age * segment, width, generator=generator).unbind()
            cache.update(k, v, layer)

        @torch.inference_mode()
        def call() -> None:
            for piece in ids.split(segment, 1):
                model(input_ids=piece, past_key_values=cache, use_cache=True)
            cache.crop(-ids.shape[1])

        return call, 2 * config.num_hidden_layers * heads * age * segment * width * 4

    return prepare
