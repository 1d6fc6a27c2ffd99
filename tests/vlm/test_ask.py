"""The front door: one pass for all questions, the right model for the film, and errors that say what to type."""

import errno
import json

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

from seefar import media
from seefar.vlm import ask as door
from seefar.vlm.answer import Answer, Cost, Model, Plan
from seefar.vlm.ask import ModelNotFound, ask, choose, load, plan

QWEN = "Qwen/Qwen2.5-VL-3B-Instruct"


class Fake(Model):
    name = "fake"

    def __init__(self):
        self.calls = []

    def answer(self, video, questions, *, budget=4096, fps=1.0, recipe=None, progress=None):
        self.calls.append((video, list(questions), budget, fps, recipe, progress))
        cost = Cost(1, 1, 1, 1, {"read": 0.1}, 1)
        return [Answer(f"re: {q}", (), cost, self.name, q, sampling={"asked": {"fps": fps}}) for q in questions]


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "plain.mp4"
    return media.write_video(path, (np.full((48, 64, 3), 20 * k, np.uint8) for k in range(8)), 2)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty Hugging Face cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put(cache, name, files):
    """A model in the cache, laid out as huggingface_hub lays it out."""
    home = cache / ("models--" + name.replace("/", "--"))
    folder = home / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("abc")
    for file, text in files.items():
        (folder / file).write_text(text)
    return folder


def test_one_question_gives_an_answer_and_several_give_a_list_from_one_pass(film):
    model = Fake()
    assert ask(film, "Why?", model=model).text == "re: Why?"
    assert [given.question for given in ask(film, ["A?", "B?"], model=model)] == ["A?", "B?"]
    assert [given.question for given in ask(film, ("A?",), model=model)] == ["A?"]
    assert len(model.calls) == 3


def test_every_argument_reaches_the_model(film):
    model, progress = Fake(), lambda stage, done, total: None
    video = media.open(film)
    ask(video, "Why?", model=model, recipe="blind", budget=77, fps=0.25, progress=progress)
    assert model.calls == [(video, ["Why?"], 77, 0.25, "blind", progress)]


@pytest.mark.parametrize("question", ["", "   ", [], ["fine?", ""], [3]])
def test_no_question_is_refused_before_the_film_is_opened(question):
    with pytest.raises(ValueError, match="question"):
        ask("no-such-film.mp4", question, model=Fake())


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"budget": 0}, "budget must be at least 1"),
        ({"fps": 0.0}, "got 0.0"),
        ({"fps": float("nan")}, "got nan"),
        ({"fps": -1}, "got -1"),
    ],
)
def test_limits_that_no_film_can_be_read_with_are_refused(film, limits, says):
    for door_ in (lambda: ask(film, "Why?", model=Fake(), **limits), lambda: plan(film, "pico", **limits)):
        with pytest.raises(ValueError, match=says):
            door_()


def test_a_missing_film_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere\.mp4"):
        ask(tmp_path / "nowhere.mp4", "Why?", model=Fake())


@pytest.mark.parametrize(("words", "used"), [(True, "reader"), (False, "pico")])
def test_auto_reads_where_there_are_words_and_says_why(film, cache, monkeypatch, words, used):
    import seefar.vlm.reader as reader

    loaded = []
    monkeypatch.setattr(reader, "has_words", lambda video: words)
    monkeypatch.setattr(door, "load", lambda name: loaded.append(name) or Fake())
    given = ask(film, "Why?")
    assert loaded == [used]
    note = given.sampling["model"]
    assert (note["asked"], note["used"]) == ("auto", used)
    assert "words" in note["why"]
    assert "fps" in given.sampling["asked"]
    if used == "pico":
        assert "rendered worlds, not the real one" in note["why"]


def test_auto_without_the_extra_for_words_says_what_to_install(film, cache, monkeypatch):
    import seefar.vlm.reader as reader

    def missing(video):
        raise ImportError("pip install 'seefar[read]'")

    monkeypatch.setattr(reader, "has_words", missing)
    chosen = choose(media.open(film))
    assert chosen.name == "pico"
    assert "pip install 'seefar[read]'" in chosen.why and "not the real one" in chosen.why


def test_auto_does_not_use_up_a_pipe(film, cache, monkeypatch):
    import io

    import seefar.vlm.reader as reader

    class OneWay(io.BytesIO):
        def seekable(self):
            return False

    monkeypatch.setattr(reader, "has_words", lambda video: pytest.fail("looked into the pipe"))
    matroska = media.write_video(film.with_suffix(".mkv"), (np.zeros((48, 64, 3), np.uint8) for _ in range(9)), 2)
    assert choose(media.open(OneWay(matroska.read_bytes()))).name == "reader"


def test_auto_prefers_a_named_model_that_is_wholly_on_disk(film, cache, monkeypatch):
    import seefar.vlm.reader as reader

    monkeypatch.setattr(reader, "has_words", lambda video: True)
    index = json.dumps({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})
    half = put(cache, QWEN, {"config.json": "{}", "model.safetensors.index.json": index, "one.safetensors": ""})
    assert choose(media.open(film)).name == "reader"
    (half / "two.safetensors").write_text("")
    assert choose(media.open(film)).name == QWEN


def test_an_id_on_disk_is_loaded_from_there_without_asking_the_network(cache, monkeypatch):
    import seefar.vlm.wrap as wrap

    folder = put(cache, "me/mine", {"config.json": "{}", "model.safetensors": ""})
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: pytest.fail("asked the network"))
    monkeypatch.setattr(wrap, "load_folder", lambda path: ("loaded", path))
    assert load("me/mine") == ("loaded", folder)


def test_a_folder_is_loaded_as_it_is(tmp_path, monkeypatch):
    import seefar.vlm.wrap as wrap

    monkeypatch.setattr(wrap, "load_folder", lambda path: ("loaded", path))
    (tmp_path / "config.json").write_text("{}")
    assert load(str(tmp_path)) == ("loaded", tmp_path)


def test_without_a_network_the_error_says_what_to_do(cache, monkeypatch):
    real = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **more: real(name, endpoint="http://127.0.0.1:9", **more)
    )
    with pytest.raises(ModelNotFound) as caught:
        load(QWEN)
    assert str(caught.value) == f"Cannot download '{QWEN}': no network. Use a local folder, or seefar demo."


def _of(kind):
    import httpx2

    return kind("said no", response=httpx2.Response(403, request=httpx2.Request("GET", "http://127.0.0.1:9")))


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (lambda: _of(RepositoryNotFoundError), "no model of that name"),
        (lambda: _of(GatedRepoError), "accept their terms"),
        (lambda: OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (lambda: LocalEntryNotFoundError("odd\nmore"), "odd"),
    ],
)
def test_each_failure_of_a_download_has_its_own_words(cache, monkeypatch, error, says):
    def fail(name, **more):
        raise error()

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelNotFound, match=says) as caught:
        load(QWEN)
    assert "\n" not in str(caught.value)
    assert "no network" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("picco", "Did you mean 'pico'"),
        ("raeder", "Did you mean 'reader'"),
        ("gpt", "Unknown model 'gpt'. Type auto"),
        ("./no/such/folder", "Unknown model"),
        ("auto", "needs a film"),
        ("bad name/with spaces", "Unknown model"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_to_type(cache, name, says):
    with pytest.raises(ModelNotFound, match=says):
        load(name)


def test_a_folder_without_a_model_is_told_apart_from_a_missing_one(tmp_path):
    with pytest.raises(ModelNotFound, match=r"no config\.json"):
        load(str(tmp_path))


def test_a_plan_downloads_no_weights_and_an_answer_does(film, cache, monkeypatch):
    import seefar.vlm.plan as planning
    import seefar.vlm.wrap as wrap

    wanted = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, allow_patterns: wanted.append(allow_patterns) or str(cache)
    )
    monkeypatch.setattr(planning, "plan_wrapped", lambda folder, video, **named: ("planned", folder, named["budget"]))
    monkeypatch.setattr(wrap, "load_folder", lambda folder: ("loaded", folder))
    assert plan(film, QWEN, budget=99) == ("planned", cache, 99)
    assert load(QWEN) == ("loaded", cache)
    assert ["*.safetensors" in patterns for patterns in wanted] == [False, True]
    assert all("*.json" in patterns for patterns in wanted)


@pytest.mark.parametrize("model", ["pico", "reader"])
def test_a_plan_keeps_the_budget_and_counts_the_frames(film, model):
    told = plan(film, model, budget=64, fps=2.0)
    assert isinstance(told, Plan)
    assert told.model == model
    assert told.visual_tokens <= 64
    assert 1 <= told.frames <= 8


@pytest.mark.parametrize("model", ["pico", "reader"])
def test_the_built_in_models_answer_through_the_door(film, model):
    given = ask(film, "When does the red star appear?", model=model, budget=64)
    assert given.model == model
    assert given.question == "When does the red star appear?"
    assert given.cost.tokens_kept <= 64
    assert all(0 <= moment.start <= moment.end <= 4 for moment in given.moments)
