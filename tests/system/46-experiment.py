"""smelt experiment: every case is measured, the report is a whole page, mistakes are told."""
import html.parser
import json
import os
import subprocess

import smelt

ARMS = ["compute_threads", "locked_threads", "threads", "processes"]


def experiment(site, *args):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SMELT_"))}
    return subprocess.run([smelt.PROGRAM, "experiment", *args], capture_output=True, text=True, timeout=600,
                          cwd=smelt.ROOT, env=env)


class Page(html.parser.HTMLParser):
    """Checks that tags are closed in order, and gathers what the page refers to."""
    VOID = ("meta", "link", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.counts, self.addresses, self.text = [], {}, [], []

    def handle_starttag(self, tag, attributes):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.addresses += [v for k, v in attributes if k in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, "</%s> closes nothing" % tag

    def handle_data(self, data):
        self.text.append(data)


def test_every_case_is_measured_and_reported(site):
    path = os.path.join(site.folder, "report.html")
    before = set(smelt.children_of(os.getpid()))
    done = experiment(site, "--seconds", "1", "--max", "2", "--report", path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(r["n"], r["case"]) for r in rows] == [(n, a) for n in (1, 2) for a in ARMS]
    for r in rows:
        assert r["bench"] == "experiment" and r["model"] == "demo" and r["precision"] == "fp32"
        assert r["pictures"] > 0 and r["pictures_per_s"] > 0 and r["cpu_ms_per_picture"] > 0
        assert 0 < r["latency_p50_ms"] <= r["latency_p99_ms"]
        assert r["pss_mb"] > 5 and r["start_ms"] > 0 and r["crash_back_ms"] > 0
        assert 0 <= r["crash_jobs_lost"] <= (1 if r["case"] in ("processes", "compute_threads") else r["n"])
    page = Page()
    with open(path, encoding="utf-8") as f:
        text = f.read()
    page.feed(text)
    page.close()
    assert page.open == [] and page.addresses == [] and "script" not in page.counts
    assert page.counts["figure"] == 6 and page.counts["tr"] == 1 + len(rows)
    # each figure of the table is the one that was printed: there with three decimals, which may round
    # 81.2496 up to the 81.250 that becomes 81.3
    for r in rows:
        assert any("<td>%.1f</td>" % (r["pictures_per_s"] + d) in text for d in (-0.0006, 0, 0.0006))
    words = "".join(page.text)
    assert "processes answered" in words and "What follows" in words
    for name in ("n compute threads", "n threads, one lock", "n threads", "n processes"):
        assert name in done.stderr and name in words
    assert set(smelt.children_of(os.getpid())) == before  # nobody is left behind


def test_mistakes_are_told_before_anything_is_measured(site):
    done = experiment(site, "--model", "nowhere")
    assert done.returncode == 1 and "nowhere" in done.stderr and done.stdout == ""
    done = experiment(site, "--samples", site.folder, "--seconds", "1", "--max", "1")
    assert done.returncode == 1 and "no pictures" in done.stderr and done.stdout == ""
    done = experiment(site, "--max", "0")
    assert done.returncode == 2 and "--max" in done.stderr
