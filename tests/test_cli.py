"""The command line: frozen options, quick help, one-line errors, one JSON object, and a clean stop."""

import json
import re
import signal
import subprocess
import sys
import time
from importlib import import_module
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from seefar import media
from seefar.cli import app
from seefar.cli.terminal import bill, parse_tokens, score_bar
from seefar.evals.readme import MODULES
from seefar.papers._parts import fingerprint
from seefar.vlm.answer import Answer, Cost, Model, Moment

OPTIONS = {
    "": ["--debug", "--version"],
    "demo": ["--folder", "--minutes"],
    "ask": ["--budget", "--fps", "--json", "--model", "--plan", "--recipe", "--report"],
    "doctor": ["--json"],
    "bench needle": ["--out", "--quick"],
    "bench ask": ["--out", "--quick"],
    "bench ops": ["--out", "--quick"],
    "bench decode": ["--out", "--quick"],
    "bench ingest": ["--out", "--quick"],
    "bench read": ["--out", "--quick"],
    "bench mixers": ["--out", "--quick"],
    "bench layers": ["--out", "--quick"],
    "bench forms": ["--out", "--quick"],
    "bench convs": ["--out", "--quick"],
    "paper list": ["--built", "--json", "--results"],
    "paper show": ["--results"],
    "paper claim": ["--results", "--scale"],
}
"""Every option of every verb. Adding one is a promise: think twice, then add it here."""


class Fake(Model):
    """Answers at once, and talks on standard output like an ill-mannered library."""

    name = "fake"
    calls = []
    raises = None

    def answer(self, video, questions, *, budget=4096, fps=1.0, recipe=None, progress=None):
        print("library chatter")
        if self.raises is not None:
            raise self.raises
        progress("watch", 1, 2)
        self.calls.append({"budget": budget, "fps": fps, "recipe": recipe})
        cost = Cost(3600, 212, 57_600, 4_090, {"read": 7.0, "answer": 3.04}, 1 << 30)
        moments = (Moment(725, 767.5, 0.83, "Graph\nsearch [b]"), Moment(12, 12, 0.2))
        return [
            Answer(f"At 12:05, {q}", moments, cost, self.name, q, (1.0, 725.0), warnings=("look out",))
            for q in questions
        ]


@pytest.fixture
def fake(monkeypatch):
    Fake.calls, Fake.raises = [], None
    monkeypatch.setattr("seefar.vlm.ask.load", lambda name: Fake())
    return Fake


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "plain.mp4"
    return str(media.write_video(path, (np.full((48, 64, 3), 20 * k, np.uint8) for k in range(8)), 2))


def call(*words):
    return CliRunner().invoke(app, list(words), prog_name="seefar")


def run_in_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


def _verbs(group, front=""):
    """Every verb of the command line with its parameters, groups flattened."""
    yield front, [p for p in group.params if p.name != "help"]
    for name, verb in getattr(group, "commands", {}).items():
        if getattr(verb, "commands", None):
            for inner, params in _verbs(verb, name):
                if inner != name:
                    yield f"{name} {inner}".strip(), params
        else:
            yield name, [p for p in verb.params if p.name != "help"]


def test_the_options_are_frozen():
    import typer.main

    found = {
        verb: sorted(name for p in params for name in p.opts if name.startswith("--"))
        for verb, params in _verbs(typer.main.get_command(app))
    }
    assert found == OPTIONS


def test_help_imports_nothing_heavy():
    done = run_in_process(
        "import sys; sys.argv = ['seefar', '--help']\n"
        "from seefar.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: print('\\nmodules', *{m.partition('.')[0] for m in sys.modules})\n"
        "sys.exit(stop.code if 'stop' in dir() else 0)"
    )
    assert done.returncode == 0, done.stderr
    text, _, modules = done.stdout.rpartition("modules ")
    assert {"torch", "numpy", "transformers", "av", "PIL", "matplotlib", "huggingface_hub"}.isdisjoint(modules.split())
    assert all(verb in text for verb in ("demo", "ask", "bench", "doctor"))


def test_the_answer_is_printed_with_moments_bill_and_warnings(fake, film):
    done = call("ask", film, "When?", "What?", "--model", "fake", "--budget", "8k", "--fps", "0.5", "--recipe", "blind")
    assert done.exit_code == 0, done.stderr
    assert fake.calls == [{"budget": 8192, "fps": 0.5, "recipe": "blind"}]
    lines = done.stdout.splitlines()
    assert lines[lines.index("When?") + 1].strip() == "At 12:05, When?"
    assert "At 12:05, What?" in done.stdout
    assert re.search(r"12:05 – 12:47\.5  ████████▎· 0\.83  “Graph search \[b\]”", done.stdout)
    assert re.search(r"^    00:12 +██·+ 0\.20$", done.stdout, re.MULTILINE)
    assert (
        "frames 3,600 seen, 212 kept · tokens 57,600 seen, 4,090 kept of 8,192 · 10.0 s (read 7.0, answer 3.0)"
        in done.stdout
    )
    assert done.stderr.count("look out") == 1


def test_json_is_one_object_and_all_else_is_on_standard_error(fake, film):
    done = call("ask", film, "Größe?", "--model", "fake", "--json")
    said = json.loads(done.stdout)
    (answer,) = said["answers"]
    assert answer["question"] == "Größe?"
    assert answer["moments"][0] == {"start": 725, "end": 767.5, "score": 0.83, "text": "Graph\nsearch [b]"}
    assert answer["cost"]["tokens_kept"] == 4090
    assert said["model"]["used"] == "fake"
    assert "library chatter" in done.stderr and "look out" in done.stderr


def test_auto_says_in_one_line_what_it_chose_and_why(fake, film, monkeypatch):
    from seefar.vlm.ask import Choice

    monkeypatch.setattr("seefar.vlm.ask.choose", lambda video: Choice("pico", "there is nothing better"))
    done = call("ask", film, "When?", "--json")
    assert [line for line in done.stderr.splitlines() if "pico" in line] == [
        "model: pico, because there is nothing better"
    ]
    assert json.loads(done.stdout)["model"] == {"asked": "auto", "used": "pico", "why": "there is nothing better"}


def test_a_plan_loads_no_model(film, monkeypatch):
    from seefar.vlm.answer import Plan

    told = Plan(
        "qwen", "relevance", 3600, 4096, 235_929_600, 7_000_000_000, {"encode": 11.0, "prefill": 2.5}, ("careful",)
    )
    monkeypatch.setattr("seefar.vlm.ask.load", lambda name: pytest.fail("loaded a model"))
    monkeypatch.setattr("seefar.vlm.ask.plan", lambda *words, **named: told)
    done = call("ask", film, "--plan", "--model", "qwen")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"qwen +3,600 +4,096 +225 MB +6\.5 GB +14", done.stdout)
    assert "careful" in done.stdout
    assert json.loads(call("ask", film, "--plan", "--json").stdout)["plan"]["kv_bytes"] == 235_929_600


def test_the_report_is_written_and_its_folder_checked_before_the_work(fake, film, tmp_path):
    page = tmp_path / "page.html"
    assert call("ask", film, "When?", "--model", "fake", "--report", str(page)).exit_code == 0
    assert "When?" in page.read_text()
    fake.calls.clear()
    done = call("ask", film, "When?", "--model", "fake", "--report", str(tmp_path / "no" / "page.html"))
    assert (done.exit_code, fake.calls) == (2, [])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere.mp4", "When?"], "nowhere.mp4"),
        (["FILM"], "no question"),
        (["FILM", "  "], "no question"),
        (["FILM", "When?", "--budget", "8q"], "--budget: '8q' is no number of tokens"),
        (["FILM", "When?", "--budget", "0"], "--budget: '0'"),
        (["FILM", "When?", "--fps", "-1"], "fps must be"),
        (["FILM", "When?", "--fps", "nan"], "fps must be"),
        (["FILM", "When?", "--model", "picco"], "Did you mean 'pico'"),
        (["FILM", "When?", "--plan", "--report", "x.html"], "leave --plan out"),
        (["FILM", "When?", "--model", "pico", "--recipe", "majic"], "majic"),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_2(film, words, says):
    done = call("ask", *[film if word == "FILM" else word for word in words])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"", "empty.mp4"), (b"hello, this is a letter\n" * 9, "letter.mp4"), (b"\0" * 999, "zeros.mp4")],
)
def test_a_file_that_is_no_film_is_named_in_one_line(fake, tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    done = call("ask", str(tmp_path / name), "When?", "--model", "fake", "--report", str(tmp_path / "r.html"))
    assert done.exit_code == 2
    assert name in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "r.html").exists()


def test_a_mistyped_option_is_refused_with_the_right_one(film):
    done = call("ask", film, "When?", "--buget", "4k")
    assert done.exit_code == 2
    assert "--budget" in done.stderr


@pytest.mark.parametrize(
    "error", [ValueError("bad pixel"), FileNotFoundError("no weights"), ImportError("pip install 'seefar[read]'")]
)
def test_debug_shows_the_whole_traceback_wherever_it_stands(fake, film, monkeypatch, error):
    fake.raises = error
    assert call("ask", film, "When?", "--model", "fake").stderr.strip().splitlines()[-1] == str(error)
    assert call("--debug", "ask", film, "When?", "--model", "fake").exception is error
    monkeypatch.setattr(sys, "argv", ["seefar", "ask", film, "When?", "--model", "fake", "--debug"])
    from seefar.cli import main

    with pytest.raises(type(error)) as caught:
        main()
    assert caught.value is error


def test_a_fault_of_seefar_is_not_dressed_up_as_the_users(fake, film):
    fake.raises = RuntimeError("a bug")
    done = call("ask", film, "When?", "--model", "fake")
    assert done.exit_code == 1
    assert done.exception is fake.raises


def test_ctrl_c_is_130_and_says_what_is_left(fake, film, tmp_path):
    fake.raises = KeyboardInterrupt()
    done = call("ask", film, "When?", "--model", "fake", "--report", str(tmp_path / "r.html"))
    assert done.exit_code == 130
    assert "Stopped before the answer; nothing was written." in done.stderr
    assert not (tmp_path / "r.html").exists()


@pytest.mark.slow
def test_a_real_interrupt_of_a_real_process_is_130_within_seconds():
    code = (
        "import sys, time, seefar.cli.ask as verb\n"
        "def wait(*words):\n    print('ready', flush=True); time.sleep(60)\n"
        "verb.answer = wait\n"
        "from seefar.cli import main\n"
        "sys.argv = ['seefar', 'ask', 'x.mp4', 'When?']\n"
        "main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().strip() == "ready"
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - started < 20
    assert "Stopped" in said and "Traceback" not in said


BENCHES = list(MODULES)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_writes_its_figures_and_prints_its_table(name, quick, tmp_path, monkeypatch):
    module = import_module(f"seefar.evals.{MODULES[name]}")
    parameters = signature(module.run)
    given = []

    def run(**named):
        parameters.bind(**named)
        given.append(named)
        return {"figure": 1}

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "table", lambda result: f"| figure |\n| {result['figure']} |")
    if name == "needle":
        monkeypatch.setattr(module, "heatmap", lambda result, path: Path(path).write_bytes(b"png"))
    done = call("bench", name, "--out", str(tmp_path / "results"), *(["--quick"] if quick else []))
    assert done.exit_code == 0, done.stderr
    assert bool(set(given[0]) - {"progress", "folder"}) == quick
    if "folder" in given[0]:  # what an edited bench had learnt must not be taken up again
        assert given[0]["folder"].name.endswith(fingerprint(Path(module.__file__)))
    end = "_quick" if quick else ""
    written = {file.name for file in (tmp_path / "results").iterdir()}
    assert written == {f"bench_{name}{end}.json", *([f"needle{end}.png"] if name == "needle" else [])}
    assert json.loads((tmp_path / "results" / f"bench_{name}{end}.json").read_text()) == {"figure": 1}
    assert "| 1 |" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_runs_in_its_quick_form(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["bench", name, "--quick"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "results" / f"bench_{name}_quick.json").read_text())
    assert "|" in done.stdout or "film" in done.stdout


def test_version_is_printed():
    import seefar

    assert call("--version").stdout.strip() == f"seefar {seefar.__version__}"


@pytest.mark.parametrize("text", ["", "k", "8kk", "-1", "1.5", "inf", "1e3", "0k"])
def test_what_is_no_count_of_tokens_is_refused(text):
    with pytest.raises(ValueError, match="no number of tokens"):
        parse_tokens(text)


def test_a_bar_is_always_ten_cells():
    assert {len(score_bar(k / 333)) for k in range(-40, 400)} == {10}
    assert score_bar(0) == "·" * 10 and score_bar(2) == "█" * 10


def test_a_bill_names_the_stages_that_took_time():
    assert "(read 2.0)" in bill(Cost(1, 1, 1, 1, {"read": 2.0, "choose": 0.001}, 10), 4)
