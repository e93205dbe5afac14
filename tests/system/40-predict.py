"""smelt predict: pictures in, answers out; no servers."""
import glob
import json
import os
import subprocess

import smelt

PICTURES = os.path.join(smelt.ROOT, "tests/pictures")


def predict(*args, **kwargs):
    env = {k: v for k, v in os.environ.items() if not k.startswith("SMELT_")}
    kwargs = {"cwd": smelt.ROOT, "env": env, **kwargs}
    return subprocess.run([smelt.PROGRAM, "predict", *args], capture_output=True, timeout=60, **kwargs)


def samples(kind):
    found = sorted(glob.glob(os.path.join(smelt.ROOT, "samples", kind + "-*.jpg")))
    assert len(found) >= 5
    return found


def test_samples_are_answered_right():
    for kind, present in (("dog", True), ("nodog", False)):
        files = samples(kind)
        done = predict("--json", *files)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [line["file"] for line in lines] == files
        for line in lines:
            assert line["model"] == "demo" and len(line["model_sha256"]) == 64
            assert line["precision"] == "fp32"
            assert line["preprocessing"] == "stretch bilinear oriented fast"
            assert line["result"]["groups"]["dog"]["present"] is present, line
            assert len(line["result"]["predictions"]) == 5
            assert line["timing_ms"]["inferred"] > 0


def test_same_bits_in_every_process_and_by_the_plain_code_of_the_jpeg_library():
    seen = set()
    for name, value in (("A", "b"), ("A", "b"), ("JSIMD_FORCENONE", "1")):
        done = predict("--json", *samples("dog"), env=dict(os.environ, **{name: value}))
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        for line in lines:
            del line["timing_ms"]
        assert len(lines) >= 5
        seen.add(json.dumps(lines))
    assert len(seen) == 1


def test_the_table_is_for_people():
    done = predict(samples("dog")[0])
    assert done.returncode == 0 and done.stderr == b""
    assert b" ms\n" in done.stdout and b" %  dog" in done.stdout and b"dog: yes (" in done.stdout


def test_from_standard_input_and_from_another_folder(tmp_path):
    with open(samples("dog")[1], "rb") as picture:
        done = predict("--model", os.path.join(smelt.ROOT, "models/demo"), "-", stdin=picture,
                       cwd=tmp_path)
    assert done.returncode == 0 and b"dog: yes" in done.stdout, done.stderr


def test_a_bad_picture_fails_alone():
    bad = os.path.join(PICTURES, "bad-bomb.png")
    done = predict("--json", bad, samples("dog")[0], "/nowhere.jpg")
    assert done.returncode == 1
    first, second, third = [json.loads(line) for line in done.stdout.splitlines()]
    assert first["error"]["code"] == "limit" and "50000 x 50000" in first["error"]["message"]
    assert second["result"]["groups"]["dog"]["present"] is True
    assert third["error"]["code"] == "not_found"
    errors = done.stderr.decode().splitlines()
    assert len(errors) == 2 and errors[0].startswith("smelt: " + bad + ": the picture is 50000")


def test_a_folder_is_its_pictures_by_name(tmp_path):
    for name, content in (("b.jpg", open(samples("dog")[0], "rb").read()), ("notes.txt", b"no picture"),
                          ("a.PNG", b"no picture either")):
        (tmp_path / name).write_bytes(content)
    done = predict("--json", str(tmp_path), samples("nodog")[0])
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [os.path.basename(line["file"]) for line in lines] == ["a.PNG", "b.jpg", "nodog-1.jpg"]
    assert ["error" in line for line in lines] == [True, False, False]
    (tmp_path / "empty").mkdir()
    done = predict("--json", str(tmp_path / "empty"))
    assert done.returncode == 1 and json.loads(done.stdout)["error"]["code"] == "not_found"


def test_every_kind_of_picture_is_read():
    files = [f for f in glob.glob(os.path.join(PICTURES, "*.*"))
             if f.endswith((".jpg", ".png", ".webp")) and "bad-" not in f]
    assert len(files) >= 35
    done = predict("--json", *files)
    assert done.returncode == 0, done.stderr


def test_usage_and_unknown_models():
    for args, code, text in (
            ((), 2, "at least one picture"),
            (("--jsno", "x.jpg"), 2, "did you mean --json"),
            (("--model", "dmo", "x.jpg"), 1, "no model 'dmo', did you mean 'demo'? There are: "),
            (("--model", "/nowhere/x.onnx", "x.jpg"), 1, "/nowhere/x.onnx"),
            (("--model", "samples", "x.jpg"), 1, "neither a folder with a smelt.json nor")):
        done = predict(*args)
        assert done.returncode == code and done.stdout == b"", args
        assert text in done.stderr.decode() and done.stderr.count(b"\n") == 1, done.stderr


def test_a_broken_model_file_is_named(tmp_path):
    with open(os.path.join(smelt.ROOT, "models/demo/model.onnx"), "rb") as model:
        data = model.read()
    broken = tmp_path / "broken.onnx"
    for piece in (b"", data[: len(data) // 2], b"not a model"):
        broken.write_bytes(piece)
        done = predict("--model", str(broken), samples("dog")[0])
        assert done.returncode == 1 and done.stderr.count(b"\n") == 1
        assert b"broken.onnx" in done.stderr, done.stderr
