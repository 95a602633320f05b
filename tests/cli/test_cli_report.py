"""`--report`: one page that shows a run, as a browser shows it."""

from __future__ import annotations

import html.parser
import itertools
import os
import re
import shutil
import subprocess

import pytest
from support.scripted import refused, refusing

from asyncembed import RunSummary, Usage
from asyncembed.cli._progress import MAX_SAMPLES, Recorder

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(html.parser.HTMLParser):
    """What a page holds: its text, tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def texts_file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text {number}\n" for number in range(200)))
    return path


@pytest.fixture
def report(run, threaded_server, openai, texts_file, tmp_path):
    """Run with a few retries and a failed request, and return the page that was written."""
    path = tmp_path / "run.html"
    server = threaded_server
    server.script.extend([server.default, refused(500)])
    server.default = refusing([f"text {number}" for number in range(10, 20)], "too <long>")
    options = ("--chunk-size", 10, "--max-concurrency", 1, "--on-error", "skip", "--report", path)
    ended = run("embed", texts_file, "-o", tmp_path / "v.npy", *options, *openai(server))
    assert ended.code == 0, ended.err
    return path


def test_it_says_what_happened(report, tmp_path):
    page = Page(report.read_text())
    for words in (
        f"Embedding {tmp_path / 'v.npy'} finished",
        "190 texts embedded",
        "10 failed",
        "rows saved 190",
        "retries 19",  # one for the error, and halves down to each of ten texts
        "model scripted",
        "max memory 256 MB",
        "too <long>",
        "Throughput texts/s",
        "resident reserved budget",
        "Requests in flight",
        "retries failed texts",
        "successful requests 20",  # for 19 batches, and a probe
        "latency p50 ",
        "waits for retries",
        "failed texts InvalidInputError (400): 10",
    ):
        assert words in page.text


def test_what_cost_nothing_is_counted(run, threaded_server, openai, tmp_path):
    """Vectors from the cache, and texts that are equal to another."""
    texts, page = tmp_path / "equal.txt", tmp_path / "run.html"
    texts.write_text("one\ntwo\none\n" * 10)
    options = ("--cache", tmp_path / "cache.sqlite", "--report", page, *openai(threaded_server))
    assert run("embed", texts, "-o", tmp_path / "first.npy", *options).code == 0
    assert "vectors from the cache 0 texts equal to another 28" in Page(page.read_text()).text
    ended = run("embed", texts, "-o", tmp_path / "second.npy", *options)
    text = Page(page.read_text()).text
    assert "30 from the cache" in ended.err
    assert "30 from the cache 0 failed" in text
    assert "successful requests 0 latency unknown failed requests none failed texts none" in text


def test_it_needs_nothing_from_elsewhere(report):
    page = Page(report.read_text())
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not [name for name, _ in page.attributes if name in {"src", "href"}]
    assert "url(" not in report.read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_it(report, tmp_path):
    """Every chart is drawn with lines in it, nothing sticks out, and the console has no complaint."""
    probe = """<script>
      const box = document.body.getBoundingClientRect();
      const lines = [...document.querySelectorAll('polyline')].map(line => line.getTotalLength());
      const out = [...document.querySelectorAll('figure, table, .tile')].filter(
        part => part.getBoundingClientRect().right > box.right + 1);
      document.title = JSON.stringify({figures: document.querySelectorAll('figure').length, lines, out: out.length,
        wide: document.documentElement.scrollWidth > document.documentElement.clientWidth});
    </script>"""
    probed = tmp_path / "probed.html"
    probed.write_text(report.read_text().replace("</html>", f"{probe}</html>"))
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--disable-quic", f"--user-data-dir={tmp_path / 'profile'}",
    ]  # fmt: skip
    for width in (1280, 480):
        program = [CHROMIUM, *options, f"--window-size={width},1000", "--dump-dom", probed.as_uri()]
        ended = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
        title = re.search("<title>(.*?)</title>", ended.stdout)[1]
        assert '"figures":4' in title, title
        assert '"out":0' in title
        assert '"wide":false' in title
        lengths = [float(number) for number in re.search(r'"lines":\[(.*?)\]', title)[1].split(",")]
        assert len(lengths) == 7
        assert min(lengths) > 100
        assert "CONSOLE" not in ended.stderr


def test_a_run_that_fails_is_shown_too(run, threaded_server, openai, texts_file, tmp_path):
    path = tmp_path / "run.html"
    threaded_server.script.extend([threaded_server.default, refused(402, "no")])
    options = ("--chunk-size", 50, "--max-concurrency", 1, "--report", path)
    assert run("embed", texts_file, "-o", tmp_path / "v.npy", *options, *openai(threaded_server)).code == 1
    page = Page(path.read_text())
    assert "failed: QuotaExceededError: openai at " in page.text
    assert "rows saved 50" in page.text


def test_an_input_is_never_the_report(run, threaded_server, openai, texts_file, tmp_path):
    ended = run("embed", texts_file, "-o", tmp_path / "v.npy", "--report", texts_file, *openai(threaded_server))
    assert ended.code == 2
    assert f"{texts_file} exists and is not a report" in ended.err or "has the name of" in ended.err


@pytest.mark.parametrize("name", ["v.npy", "v.npy.texts.jsonl", "v.npy.meta.json", "v.npy.partial/run.html"])
def test_it_is_never_the_output_or_a_part_of_it(run, threaded_server, openai, texts_file, tmp_path, name):
    path = tmp_path / name
    ended = run("embed", texts_file, "-o", tmp_path / "v.npy", "--report", path, *openai(threaded_server))
    assert ended.code == 2
    assert f"the report {path} has the name of {tmp_path / 'v.npy'} or of a file that belongs to it" in ended.err
    assert threaded_server.requests == []


def test_it_replaces_reports_and_nothing_else(run, threaded_server, openai, texts_file, tmp_path, report):
    """And a command that is refused leaves the report of the run before it alone."""
    options = ("--report", report, *openai(threaded_server))
    before = report.read_bytes()
    assert run("embed", texts_file, "-o", tmp_path / "v.npy", *options).code == 2
    assert report.read_bytes() == before
    assert run("embed", texts_file, "-o", tmp_path / "v.npy", "--overwrite", "--on-error", "skip", *options).code == 0
    assert report.read_bytes() != before
    notes = tmp_path / "notes.md"
    notes.write_text("precious")
    ended = run("embed", texts_file, "-o", tmp_path / "w.npy", "--report", notes, *openai(threaded_server))
    assert f"{notes} exists and is not a report" in ended.err
    assert (ended.code, notes.read_text()) == (2, "precious")


def test_a_report_that_fails_at_the_end_does_not_hide_how_the_run_ended(
    run, threaded_server, openai, texts_file, tmp_path
):
    folder, right = tmp_path / "reports", threaded_server.default

    async def remove_folder(exchange):
        shutil.rmtree(folder)
        await right(exchange)

    options = ("--chunk-size", 50, "--max-concurrency", 1, "--report", folder / "r.html", *openai(threaded_server))
    folder.mkdir()
    threaded_server.script.append(remove_folder)
    ended = run("embed", texts_file, "-o", tmp_path / "v.npy", *options)
    assert ended.code == 0
    assert "200 texts embedded" in ended.err
    assert "the report could not be written: [Errno 2] No such file or directory" in ended.err
    folder.mkdir()
    threaded_server.script.extend([remove_folder, refused(402, "no")])
    ended = run("embed", texts_file, "-o", tmp_path / "w.npy", *options)
    assert ended.code == 1
    assert "answered 402" in ended.err
    assert "50 rows are kept" in ended.err


def test_no_key_is_in_it(run, threaded_server, openai, texts_file, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    threaded_server.default = refused(402, "Incorrect key: sk-very-secret")
    url = f"{threaded_server.url}/v1?token=hush-hush"
    path = tmp_path / "r.html"
    options = ("--provider", "openai", "--base-url", url, "--report", path)
    assert run("embed", texts_file, "-o", tmp_path / "v.npy", *options).code == 1
    assert threaded_server.requests[-1].headers["authorization"] == "Bearer sk-very-secret"
    assert "Incorrect key" in path.read_text()
    assert not [secret for secret in ("sk-very-secret", "hush-hush") if secret in path.read_text()]


def test_a_report_that_cannot_be_written_is_found_before_anything_is_sent(
    run, threaded_server, openai, texts_file, tmp_path
):
    for path, words in (
        (tmp_path, "is not a report"),
        (tmp_path / "nowhere" / "r.html", "cannot be written there: No such file or directory"),
        (tmp_path / f"{'n' * 300}.html", "cannot be written there: File name too long"),
    ):
        ended = run("embed", texts_file, "-o", tmp_path / "v.npy", "--report", path, *openai(threaded_server))
        assert ended.code == 2
        assert words in ended.err
    assert threaded_server.requests == []


def summary(seconds: float, **values) -> RunSummary:
    return RunSummary(elapsed=seconds, budget_bytes=10**8, **values)


def test_what_a_run_says_is_not_taken_for_markup(run, threaded_server, openai, texts_file, tmp_path):
    threaded_server.default = refused(402, "<b>no</b>")
    path, model = tmp_path / "r.html", "<script>alert(1)</script>"
    options = ("-o", tmp_path / "$title <i>.npy", "--report", path, *openai(threaded_server), "--model", model)
    assert run("embed", texts_file, *options).code == 1
    page = Page(path.read_text())
    assert not {"script", "i"} & set(page.tags)
    assert "$title <i>.npy" in page.text
    assert model in page.text
    assert "<b>no</b>" in page.text


def test_a_long_run_is_kept_in_few_samples():
    """And the newest state is always the last of them."""
    recorder = Recorder()
    for step in range(40_000):
        recorder.add(summary(step * 0.25, done=step, usage=Usage(step)))
        assert len(recorder.samples) <= MAX_SAMPLES + 1
    assert recorder.samples[-1].run.done == 39_999
    times = [sample.run.elapsed for sample in recorder.samples]
    assert times == sorted(times)
    assert times[0] == 0
    gaps = {round(b - a, 2) for a, b in itertools.pairwise(times)}
    assert max(gaps) <= 2 * min(gaps)
    assert len(times) > MAX_SAMPLES // 2


def test_the_times_of_a_chart_differ(report):
    """Also of a run of milliseconds."""
    for figure in re.findall("<figure>.*?</figure>", report.read_text()):
        assert len(set(re.findall(r">([\d.]+ m?s|[\d:]+:\d\d)</text>", figure))) == 5


def test_charts_stay_inside_their_frame(report):
    lines = re.findall('points="(.*?)"', report.read_text())
    assert len(lines) == 7
    for line in lines:
        places = [tuple(map(float, point.split(","))) for point in line.split()]
        assert all(0 <= x <= 640 and 0 <= y <= 220 for x, y in places)


def test_it_is_not_written_through_links(run, threaded_server, openai, texts_file, tmp_path):
    """In a folder where everybody may write, and which may itself be reached by one."""
    shared, victim = tmp_path / "shared", tmp_path / "victim"
    shared.mkdir()
    shared.chmod(0o1777)
    victim.write_text("precious")
    (shared / "run.html.new").symlink_to(victim)
    (tmp_path / "link").symlink_to(shared)
    options = ("-o", tmp_path / "v.npy", "--overwrite", *openai(threaded_server))
    for path in (shared / "run.html", tmp_path / "link" / "run.html"):
        assert run("embed", texts_file, "--report", path, *options).code == 0
        assert not path.is_symlink()
        assert "finished" in Page(path.read_text()).text
    assert victim.read_text() == "precious"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root makes files of others")
def test_a_report_of_another_user_is_not_replaced(run, threaded_server, openai, texts_file, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    options = ("-o", tmp_path / "v.npy", "--overwrite", "--report", shared / "run.html", *openai(threaded_server))
    assert run("embed", texts_file, *options).code == 0
    os.chown(shared / "run.html", 12_345, 12_345)
    ended = run("embed", texts_file, *options)
    assert ended.code == 2
    assert "belongs to another user" in ended.err
