"""smelt model quantize, and what its package answers."""
import glob
import json
import os
import subprocess

import smelt

DEMO = os.path.join(smelt.ROOT, "models/demo")
SAMPLES = sorted(glob.glob(os.path.join(smelt.ROOT, "samples", "*.jpg")))


def run(*args, **kwargs):
    env = {k: v for k, v in os.environ.items() if not k.startswith("SMELT_")}
    kwargs = {"cwd": smelt.ROOT, "env": env, **kwargs}
    return subprocess.run([smelt.PROGRAM, *map(str, args)], capture_output=True, timeout=120,
                          **kwargs)


def quantize(out, *args):
    done = run("model", "quantize", DEMO, "--calibrate", "samples", "-o", out, *args)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def predictions(model):
    done = run("predict", "--json", "--model", model, *SAMPLES)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_demo_model_answers_the_same_in_int8(tmp_path):
    out = tmp_path / "demo-int8"
    report = json.loads(quantize(out, "--json"))
    assert report["pictures"] == len(SAMPLES) == 16
    assert report["agreement"] == 1 and report["cosine"] > 0.999 and report["sqnr_db"] > 25
    kinds = {(layer["op"], layer["precision"]) for layer in report["layers"]}
    assert {("Conv", "int8"), ("MaxPool", "int8"), ("Relu", "int8")} <= kinds
    work = {p: sum(l["gflop"] for l in report["layers"] if l["precision"] == p)
            for p in ("int8", "fp32")}
    assert work["int8"] > 0.8 * (work["int8"] + work["fp32"])
    assert all(layer["cosine"] > 0.99 for layer in report["layers"])
    package = json.loads((out / "smelt.json").read_text())
    assert package["name"] == "demo-int8" and package["precision"] == "int8"
    assert package["groups"] == {"dog": ["0-4"]} and package["file"] == "model.onnx"
    before, after = predictions(DEMO), predictions(out)
    assert before != after
    for a, b in zip(before, after):
        assert b["model"] == "demo-int8" and a["model_sha256"] == b["model_sha256"]
        a, b = a["result"], b["result"]
        assert a["predictions"][0]["label"] == b["predictions"][0]["label"]
        assert a["groups"]["dog"]["present"] == b["groups"]["dog"]["present"]
        assert abs(a["groups"]["dog"]["score"] - b["groups"]["dog"]["score"]) < 0.05
    assert [line["result"] for line in predictions(out)] == [line["result"] for line in after]


def test_a_model_that_is_quantized_already_computes_in_integers(tmp_path):
    model = "tests/golden/quantized.onnx"
    done = run("model", "inspect", model, "--layers")
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).decode().splitlines()
    steps = {line.split()[1]: line for line in lines if line.strip()[:1].isdigit()}
    assert " int8 " in steps["Conv"] and " int8 " in steps["MaxPool"]
    done = run("model", "quantize", model, "-o", tmp_path / "again")
    assert done.returncode == 1 and b"quantized already" in done.stderr
    assert not (tmp_path / "again").exists()


def test_the_report_is_for_people(tmp_path):
    text = quantize(tmp_path / "a", "--pictures", "3")
    assert "3 pictures: " in text and "same answer for 100.00 %" in text and "running" in text
    done = run("model", "quantize", DEMO, "--calibrate", SAMPLES[0], "-o", tmp_path / "a")
    assert done.returncode == 1 and b"there already" in done.stderr
    assert run("model", "quantize", DEMO, SAMPLES[1], "--calibrate", SAMPLES[0], "-o",
               tmp_path / "a", "--force").returncode == 0


def test_a_bare_file_is_calibrated_on_generated_pictures(tmp_path):
    model = tmp_path / "net.onnx"
    model.write_bytes(open(os.path.join(DEMO, "model.onnx"), "rb").read())
    done = run("model", "quantize", model, "--json")
    assert done.returncode == 0 and b"generated pictures" in done.stderr, done.stderr
    assert json.loads(done.stdout)["pictures"] == 32
    assert run("predict", "--model", tmp_path / "net-int8", SAMPLES[0]).returncode == 0


def test_the_bench_has_a_line_for_each_precision():
    done = run("bench", "engine", "--model", DEMO, "--seconds", "0")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["precision"] for line in lines] == ["fp32", "int8"]
    for line in lines:
        assert line["ms_per_image"] > 0 and line["weight_bytes"] > 0
        assert line["peak_kernel"] == "none" or 0 < line["fraction_of_peak"] < 1.2
    assert lines[1]["weight_bytes"] < lines[0]["weight_bytes"] / 2


def test_wrong_scales_and_wrong_use_are_named(tmp_path):
    out = tmp_path / "demo-int8"
    quantize(out, "--pictures", "2")
    good = (out / "int8.json").read_text()
    scales = json.loads(good)
    for change, text in (
            ({"model_sha256": "0" * 64}, "was made for another model file"),
            ({"layers": ["nowhere"]}, "no layer that makes 'nowhere'"),
            ({"format": 9}, "quantize the model again"),
            ({"extra": 1}, "field 'extra' is unknown")):
        (out / "int8.json").write_text(json.dumps({**scales, **change}))
        done = run("predict", "--model", out, SAMPLES[0])
        assert done.returncode == 1 and text in done.stderr.decode(), done.stderr
    (out / "int8.json").unlink()
    done = run("predict", "--model", out, SAMPLES[0])
    assert done.returncode == 1 and b"int8.json" in done.stderr
    (out / "int8.json").write_text(good)
    for args, code, text in (
            ((), 2, "needs a model"),
            ((DEMO,), 2, "give pictures"),
            ((DEMO, "--pictures", "0"), 2, "--pictures must be"),
            ((DEMO, "--calibrate", tmp_path), 1, "no .jpg, .png or .webp"),
            ((DEMO, "--calibrate", "/nowhere"), 1, "/nowhere"),
            ((DEMO, "--calibrate", os.path.join(DEMO, "labels.txt")), 1, "no picture could"),
            ((out, "--calibrate", "samples"), 2, "in int8 already")):
        done = run("model", "quantize", *args, *(() if "-o" in args else ("-o", tmp_path / "b")))
        assert done.returncode == code and text in done.stderr.decode(), (args, done.stderr)
    assert not (tmp_path / "b").exists()
