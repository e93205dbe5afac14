"""Several models in one pool, and packages that change under it."""
import json
import os
import shutil
import signal
import subprocess

import pytest

import pool as pools
import slow_model
import smelt

DEMO = os.path.join(smelt.ROOT, "models", "demo")


@pytest.fixture
def models(tmp_path):
    """A folder of packages with a copy of the demo model."""
    folder = tmp_path / "models"
    shutil.copytree(DEMO, folder / "demo")
    return folder


def change(folder, **fields):
    """As package tools do it: beside its place, then renamed."""
    new = str(folder) + ".new"
    shutil.copytree(folder, new)
    path = os.path.join(new, "smelt.json")
    with open(path) as f:
        description = json.load(f)
    description.update(fields)
    with open(path, "w") as f:
        json.dump(description, f)
    old = str(folder) + ".old"
    shutil.rmtree(old, ignore_errors=True)
    os.rename(folder, old)
    os.rename(new, folder)
    return old


def relabel(folder, suffix):
    with open(folder / "labels.txt") as f:
        labels = [line.strip() for line in f]
    with open(folder / "labels.txt.new", "w") as f:
        f.write("".join("%s%s\n" % (label, suffix) for label in labels))
    os.rename(folder / "labels.txt.new", folder / "labels.txt")


def quantized(folder):
    subprocess.run([smelt.PROGRAM, "model", "quantize", str(folder / "demo"), "--calibrate",
                    os.path.join(smelt.ROOT, "samples"), "-o", str(folder / "small")],
                   check=True, capture_output=True)
    shutil.copy(folder / "small" / "int8.json", folder / "demo")


def test_two_precisions_of_one_package_answer_side_by_side(site, models):
    quantized(models)
    pool = pools.Pool(site, "--models", str(models), "--model", "demo,demo@int8,small", "--workers", "2")
    picture = smelt.sample("dog-1.jpg")
    for i, model in enumerate(["", "demo", "demo@int8", "small", "nobody"]):
        pool.submit("job-%d" % i, picture, model)
    got = [pool.result("job-%d" % i) for i in range(5)]
    assert [r["model"] for r in got] == ["demo", "demo", "demo@int8", "small", "nobody"]
    assert [r.get("precision") for r in got] == ["fp32", "fp32", "int8", "int8", None]
    assert len({r["model_sha256"] for r in got[:4]}) == 1
    assert all(r["result"]["groups"]["dog"]["present"] for r in got[:4])
    assert got[4]["status"] == "failed" and got[4]["error"]["code"] == "unknown_model"
    for name in ("'demo'", "'demo@int8'", "'small'"):
        assert name in got[4]["error"]["message"]
    assert len(pool.zygotes()) == 1
    text = pool.ready_text()
    assert "model demo fp32" in text and "model demo@int8 int8" in text


def test_a_changed_package_changes_the_answers_and_the_old_one_comes_back(site, models):
    pool = pools.Pool(site, "--models", str(models), "--model", "demo", "--workers", "2")
    picture = smelt.sample("dog-1.jpg")
    pool.submit("before", picture)
    assert pool.result("before")["result"]["predictions"][0]["label"] == "dog face"
    first = pool.zygotes()
    old = change(models / "demo", version="2", output={"kind": "probabilities", "top_k": 1})
    smelt.wait_until(lambda: pool.metric("smelt_worker_generation") == 2, what="the second generation")
    pool.submit("after", picture)
    assert len(pool.result("after")["result"]["predictions"]) == 1
    smelt.wait_until(lambda: len(pool.zygotes()) == 2 and not smelt.children_of(first[0]),
                     what="the first generation to be kept without children")
    os.rename(models / "demo", str(models / "demo") + ".bad")  # the way back: put it there again
    os.rename(old, models / "demo")
    smelt.wait_until(lambda: pool.metric("smelt_worker_generation") == 1, what="the first generation again")
    assert "generation_back" in pool.worker.log()
    pool.submit("back", picture)
    assert len(pool.result("back")["result"]["predictions"]) == 5
    assert first[0] in pool.zygotes() and pool.metric("smelt_worker_child_deaths_total") == 0


def test_a_package_that_fails_its_own_sample_is_not_taken(site, models):
    pool = pools.Pool(site, "--models", str(models), "--model", "demo", "--workers", "1")
    change(models / "demo", sample={"picture": "sample.jpg", "label": "cat face"})
    smelt.wait_until(lambda: pool.metric("smelt_worker_generations_refused_total") == 1, what="a refusal")
    text = pool.ready_text()
    assert text.startswith("ok\n") and "it is 'dog face'" in text and "'cat face'" in text
    shutil.rmtree(models / "demo")  # gone: refused too, and it still answers
    smelt.wait_until(lambda: pool.metric("smelt_worker_generations_refused_total") == 2, what="a refusal")
    pool.submit("a", smelt.sample("dog-1.jpg"))
    assert pool.result("a")["status"] == "succeeded"
    shutil.copytree(DEMO, models / "demo")  # as it was: nothing to change, and no complaint
    smelt.wait_until(lambda: "refused" not in pool.ready_text(), what="peace")
    assert pool.metric("smelt_worker_generation") == 1


def listed(site, models, *args):
    done = subprocess.run([smelt.PROGRAM, "model", "list", "--models", str(models), "--data", site.data, *args],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_package_that_is_good_on_its_sample_and_not_on_jobs_is_taken_back(site, models):
    pool = pools.Pool(site, "--models", str(models), "--model", "demo", "--workers", "2", "--job-timeout", "1")
    picture = smelt.sample("dog-1.jpg")
    pool.submit("before", picture)
    sha = pool.result("before")["model_sha256"]
    first = pool.zygotes()
    slow = str(models / "demo") + ".slow"  # far too slow for jobs; the proof has a minute
    os.mkdir(slow)
    slow_model.write(os.path.join(slow, "slow.onnx"), channels=128, kernel=3, layers=30)
    with open(os.path.join(slow, "smelt.json"), "w") as f:
        json.dump({"name": "demo", "version": "2", "file": "slow.onnx"}, f)
    os.rename(models / "demo", str(models / "demo") + ".old")
    os.rename(slow, models / "demo")
    smelt.wait_until(lambda: pool.metric("smelt_worker_generation") == 2, 120, "the slow generation")
    for n in range(6):
        pool.submit("job-%d" % n, picture + b"%d" % n)  # different pictures
    got = [pool.result("job-%d" % n, 120) for n in range(6)]
    assert all(r["status"] == "succeeded" and r["model_sha256"] == sha for r in got), got
    assert max(r["attempts"] for r in got) > 1 and pool.zygotes() == first
    assert pool.metric("smelt_worker_generation") == 1
    assert pool.metric("smelt_worker_generations_taken_back_total") == 1
    os.kill(pool.worker.pid, signal.SIGHUP)
    smelt.wait_until(lambda: "event=models_not_tried_again" in pool.worker.log(), what="a look at the packages")
    for text in (pool.ready_text(), pool.worker.log(), listed(site, models)):
        assert "model 'demo'" in text and "different pictures" in text and "taken" in text
    shutil.rmtree(models / "demo")
    os.rename(str(models / "demo") + ".old", models / "demo")
    smelt.wait_until(lambda: "refused" not in pool.ready_text(), what="peace")
    assert "refused" not in listed(site, models) and "serves demo" in listed(site, models)


def test_refusals_stand_in_the_list_of_models(site, models):
    pool = pools.Pool(site, "--models", str(models), "--model", "demo", "--workers", "1")
    assert "refused" not in listed(site, models)
    change(models / "demo", sample={"picture": "sample.jpg", "label": "cat face"})
    smelt.wait_until(lambda: pool.metric("smelt_worker_generations_refused_total") == 1, what="a refusal")
    text = smelt.wait_until(lambda: "refused" in listed(site, models) and listed(site, models), what="its line")
    assert "! refused 20" in text and "'cat face'" in text and "serves demo" in text
    last = json.loads(listed(site, models, "--json").splitlines()[-1])["pool"]
    assert last["generation"] == 1 and "'cat face'" in last["refused"]
    assert [m["name"] for m in last["serving"]] == ["demo"]


def names(serve):
    return [m["name"] for m in smelt.http("GET", serve.gateway_url + "/v1/models")[2]["models"]]


def test_the_gateway_follows_the_pool(site, models):
    serve = site.serve("--models", str(models), "--model", "demo", "--workers", "1")
    assert names(serve) == ["demo"]
    change(models / "demo", name="puppies", description="only puppies")
    smelt.wait_until(lambda: names(serve) == ["puppies"], what="the new name")
    shown = smelt.http("GET", serve.gateway_url + "/v1/models")[2]["models"][0]
    assert shown["description"] == "only puppies" and shown["default"]
    for model in ("", "?model=puppies", "?model=demo"):  # as --model has it, too
        status, _, job = smelt.http("POST", serve.gateway_url + "/v1/jobs" + model, smelt.sample("dog-1.jpg"),
                                    {"Content-Type": "image/jpeg", "Prefer": "wait=30"})
        status, _, job = smelt.http("GET", serve.gateway_url + "/v1/jobs/%s?wait=30" % job["id"])
        assert job["status"] == "succeeded" and job["model"] == "puppies"
    change(models / "demo", name="kittens", sample={"picture": "sample.jpg", "label": "cat face"})
    smelt.wait_until(lambda: "event=generation_refused" in serve.log(), what="a refusal")
    assert names(serve) == ["puppies"]  # what the pool serves, not what lies there


def test_a_gateway_without_a_pool_follows_the_packages(site, models):
    sqs, s3 = site.role("sqs"), site.role("s3")
    gateway = site.role("gateway", "--sqs-endpoint", sqs.url, "--s3-endpoint", s3.url, "--models", str(models),
                        "--model", "demo,far-away", "--gateway-listen", "127.0.0.1:0")

    def shown():
        return [m["name"] for m in smelt.http("GET", gateway.url + "/v1/models")[2]["models"]]
    assert shown() == ["demo", "far-away"]
    change(models / "demo", name="puppies")
    smelt.wait_until(lambda: shown() == ["puppies", "far-away"], what="the new name")
    with open(models / "demo" / "smelt.json.new", "w") as f:
        f.write("{")
    os.rename(models / "demo" / "smelt.json.new", models / "demo" / "smelt.json")  # half there: as it was
    smelt.wait_until(lambda: "event=models_unread" in gateway.log(), what="a complaint")
    assert shown() == ["puppies", "far-away"]
    shutil.copytree(DEMO, models / "far-away")
    shutil.rmtree(models / "demo")
    change(models / "far-away", name="near")
    smelt.wait_until(lambda: shown() == ["demo", "near"], what="the other package")


def test_no_job_is_lost_or_waits_while_packages_change_under_load(site, models):
    pool = pools.Pool(site, "--models", str(models), "--model", "demo", "--workers", "2")
    picture = smelt.sample("dog-1.jpg")
    for n in range(150):
        pool.submit("job-%03d" % n, picture)
        if n % 30 == 10:
            relabel(models / "demo", "")
            change(models / "demo", version=str(n))
        if n % 50 == 40:
            os.kill(pool.worker.pid, signal.SIGHUP)
    got = [pool.result("job-%03d" % n) for n in range(150)]
    assert all(r["status"] == "succeeded" and r["attempts"] == 1 for r in got)
    assert all(r["result"]["predictions"][0]["label"] == "dog face" for r in got)
    assert pool.metric("smelt_worker_generation") > 1
    assert pool.metric("smelt_worker_child_deaths_total") == 0
    smelt.wait_until(lambda: pool.messages() == (0, 0), what="an empty queue")


def test_a_killed_zygote_after_a_bad_change_keeps_the_pool_trying(site, models):
    pool = pools.Pool(site, "--models", str(models), "--model", "demo", "--workers", "1")
    good = change(models / "demo", file="missing.onnx")
    smelt.wait_until(lambda: pool.metric("smelt_worker_generations_refused_total") >= 1, what="a refusal")
    os.kill(pool.zygotes()[0], signal.SIGKILL)
    smelt.wait_until(lambda: pool.metric("smelt_worker_generations_refused_total") >= 3, what="more tries")
    assert "missing.onnx" in pool.ready_text() and not pool.ready_text().startswith("ok")
    pool.submit("a", smelt.sample("dog-1.jpg"))
    shutil.rmtree(models / "demo")
    os.rename(good, models / "demo")
    assert pool.result("a")["status"] == "succeeded"


def test_a_fetched_xception_is_the_default_and_the_page_says_so(site, models):
    shutil.copytree(models / "demo", models / "xception")
    change(models / "xception", name="xception")
    serve = site.serve("--models", str(models), "--workers", "1")
    answer = smelt.http("GET", serve.gateway_url + "/v1/models")[2]["models"]
    assert [(m["name"], m["default"]) for m in answer] == [("xception", True)]
    status, _, job = smelt.http("POST", serve.gateway_url + "/v1/jobs?wait=30", smelt.sample("dog-1.jpg"),
                                {"Content-Type": "image/jpeg"})
    assert status == 200 and job["model"] == "xception"
    assert serve.stop() == 0
    serve = site.serve("--models", str(models), "--model", "demo,xception", "--workers", "1")
    answer = smelt.http("GET", serve.gateway_url + "/v1/models")[2]["models"]
    assert [(m["name"], m["default"]) for m in answer] == [("demo", True), ("xception", False)]
    for model in ("demo", "xception"):
        _, _, job = smelt.http("POST", serve.gateway_url + "/v1/jobs?wait=30&model=" + model,
                               smelt.sample("dog-1.jpg"), {"Content-Type": "image/jpeg"})
        assert job["model"] == model


HANDLER = r"""
import json, sys
read, write = sys.stdin.buffer, sys.stdout.buffer
def say(data):
    write.write(data)
    write.flush()
say(b"ready\n")
for line in read:
    _, json_bytes, picture_bytes = line.split()
    read.read(int(json_bytes) + int(picture_bytes))
    text = json.dumps({"version": %d}).encode()
    say(b"result %%d\n%%s" %% (len(text), text))
"""


def test_a_programs_new_version_is_taken_on_hup_between_two_jobs(site, tmp_path):
    script = tmp_path / "handler.py"
    script.write_text(HANDLER % 1)
    pool = pools.Pool(site, "--exec", "/usr/bin/python3 %s" % script, "--exec-name", "versions", "--workers", "2")
    pool.submit("one", b"x")
    assert pool.result("one")["result"] == {"version": 1}
    script.write_text(HANDLER % 2)
    os.kill(pool.worker.pid, signal.SIGHUP)
    for n in range(40):
        pool.submit("job-%d" % n, b"x")
    got = [pool.result("job-%d" % n) for n in range(40)]
    assert all(r["attempts"] == 1 and r["status"] == "succeeded" for r in got)
    smelt.wait_until(lambda: pool.metric("smelt_worker_generation") == 2, what="the second generation")
    pool.submit("last", b"x")
    assert pool.result("last")["result"] == {"version": 2}
    versions = [r["result"]["version"] for r in got]
    assert set(versions) <= {1, 2}


def test_hup_reaches_the_pool_through_serve(site, models):
    serve = site.serve("--models", str(models), "--workers", "1", "--log-level", "info")
    os.kill(serve.pid, signal.SIGHUP)
    smelt.wait_until(lambda: "event=models_unchanged" in serve.log(), what="a look at the models")
    assert smelt.http("GET", serve.gateway_url + "/readyz")[0] == 200
