"""smelt model: packages made from Keras' weight files, fetched from a mirror, listed and inspected."""
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import threading

import h5py
import numpy
import pytest

import keras_files
import smelt

ROOT = smelt.ROOT
DOG = os.path.join(ROOT, "samples/dog-1.jpg")


def run(*args, code=0, environment=None, **kwargs):
    env = {k: v for k, v in os.environ.items() if not k.startswith("SMELT_")}
    env.update(environment or {})
    done = subprocess.run([smelt.PROGRAM, *map(str, args)], capture_output=True, text=True,
                          timeout=120, env=env, **kwargs)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def weights():
    found = keras_files.random_weights()
    found["predictions"]["kernel"] *= 0.003  # so that no class wins by far
    return found


@pytest.fixture(scope="module")
def keras1(weights, tmp_path_factory):
    """A file like the official one, once for all tests that only need a good file."""
    path = tmp_path_factory.mktemp("keras1") / "xception.h5"
    keras_files.write_keras1(path, weights, shuffle=1)
    return path


@pytest.fixture(scope="module")
def imported(keras1, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported") / "xception"
    run("model", "import", keras1, "-o", folder)
    return folder


def predictions(package):
    done = run("predict", "--json", "--model", package, DOG)
    return json.loads(done.stdout)["result"]


def class_index(path, names=None):
    names = names or ["name_%d" % i for i in range(1000)]
    path.write_text(json.dumps({str(i): ["n%08d" % i, n] for i, n in enumerate(names)}))
    return path


# ---- import -----------------------------------------------------------------------------------

def test_all_layouts_give_the_same_answer(weights, keras1, imported, tmp_path):
    other = {
        "two.h5": lambda p: keras_files.write_keras2(p, weights, shuffle=2),
        "full.h5": lambda p: keras_files.write_keras2(p, weights, shuffle=3, full_model=True, start=4),
        "three.keras": lambda p: keras_files.write_keras3(
            p, weights, shuffle=4, parent="_layer_checkpoint_dependencies")}  # as 2.13 calls them
    model = (imported / "model.onnx").read_bytes()
    expected = predictions(imported)
    scores = [p["score"] for p in expected["predictions"]]
    assert len(scores) == 5 and 0 < scores[4] < scores[0] < 0.2
    for name, write in other.items():
        file, folder = tmp_path / name, tmp_path / ("package-" + name)
        write(file)
        done = run("model", "import", file, "-o", folder)
        assert "22910480 parameters, 1000 classes" in done.stdout
        assert (folder / "model.onnx").read_bytes() == model
        assert name != "three.keras" or predictions(folder) == expected
        os.remove(file)
        shutil.rmtree(folder)


def test_what_the_package_says(imported):
    package = json.loads((imported / "smelt.json").read_text())
    assert package["name"] == "xception"
    assert package["input"] == {
        "width": 299, "height": 299, "layout": "nchw", "color": "rgb", "resize": "stretch",
        "filter": "nearest", "orient": False, "rgb": "pillow", "scale": "divide_first",
        "mean": [127.5] * 3, "std": [127.5] * 3}
    assert package["groups"] == {"dog": ["151-268"]} and "labels" not in package
    assert sorted(os.listdir(imported)) == ["model.onnx", "smelt.json"]
    assert os.listdir(imported.parent) == ["xception"]
    found = predictions(imported)
    dogs = [p for p in found["predictions"] if 151 <= p["index"] <= 268]
    assert found["groups"]["dog"]["score"] >= sum(p["score"] for p in dogs) > -1


def test_labels_and_modes(keras1, tmp_path):
    names = ["name_%d" % i for i in range(1000)]
    names[151], names[268] = "Chihuahua", "Mexican_hairless"
    index = class_index(tmp_path / "index.json", names)
    run("model", "import", keras1, "-o", tmp_path / "a", "--labels", index, "--resize", "center_crop")
    assert (tmp_path / "a/labels.txt").read_text().splitlines() == names
    package = json.loads((tmp_path / "a/smelt.json").read_text())
    assert package["labels"] == "labels.txt" and "dog" in package["groups"]
    assert (package["input"]["resize"], package["input"]["filter"]) == ("center_crop", "bilinear")
    assert package["input"]["orient"] is True and package["input"]["rgb"] == "over_white"
    # names of other things: no dogs; over an old package with --force
    text = tmp_path / "names.txt"
    text.write_text("".join("thing %d\r\n" % i for i in range(1000)))
    run("model", "import", keras1, "-o", tmp_path / "a", "--labels", text, "--force")
    package = json.loads((tmp_path / "a/smelt.json").read_text())
    assert "groups" not in package and package["input"]["filter"] == "nearest"
    assert predictions(tmp_path / "a")["predictions"][0]["label"].startswith("thing ")
    assert sorted(os.listdir(tmp_path)) == ["a", "index.json", "names.txt"]


def broken_files(weights, folder):
    """(file, exit code, what standard error must have)"""
    few = {k: v for k, v in weights.items() if k not in ("block3_sepconv1", "block13_residual_bn")}
    few = {**few, "block5_sepconv2": {
        "depthwise_kernel": weights["block5_sepconv2"]["depthwise_kernel"],
        "pointwise_kernel": weights["block5_sepconv2"]["pointwise_kernel"][:, :, :700]}}
    keras_files.write_keras2(folder / "few.h5", few)
    with h5py.File(folder / "few.h5", "a") as f:
        f["lstm/lstm/kernel:0"] = numpy.zeros(3, "f4")
    yield "few.h5", 1, [
        "extra: 'lstm/lstm/kernel:0' is no weight of Xception",
        "missing: depthwise_kernel of block3_sepconv1",
        "missing: pointwise_kernel of block3_sepconv1",
        "missing: moving_variance of block13_residual_bn ('batch_normalization_3')",
        "wrong: 'block5_sepconv2/block5_sepconv2/pointwise_kernel:0' (pointwise_kernel of "
        "block5_sepconv2) has the shape [1, 1, 700, 728], [1, 1, 728, 728] is needed",
        "6 weights missing, 1 extra, 1 of a wrong shape or type"]
    keras_files.write_keras1(folder / "notop.h5",
                             {k: v for k, v in weights.items() if k != "predictions"})
    with h5py.File(folder / "escape.h5", "w") as f:
        f["\x1b[31mred/kernel:0"] = numpy.zeros(3, "f4")
    yield "escape.h5", 1, ["extra: '?[31mred/kernel:0' is", "; extra: '?[31mred"]
    yield "notop.h5", 1, ["no classifier (layer 'predictions')"]
    whole = (folder / "few.h5").read_bytes()
    (folder / "cut.h5").write_bytes(whole[:len(whole) // 3])
    yield "cut.h5", 1, ["damaged or cut off (truncated file"]
    (folder / "page.h5").write_text("<html>not found</html>")
    yield "page.h5", 1, ["neither an HDF5 file (.h5) nor a .keras archive"]
    (folder / "empty.h5").write_bytes(b"")
    yield "empty.h5", 2, ["no file with anything in it"]
    yield "nowhere.h5", 1, ["No such file or directory"]


def test_broken_files_are_explained_and_leave_nothing(weights, tmp_path):
    (tmp_path / "models").mkdir()
    for name, code, texts in broken_files(weights, tmp_path):
        done = run("model", "import", tmp_path / name, "-o", tmp_path / "models/x", code=code)
        for text in texts:
            assert text in done.stderr, (name, done.stderr)
        assert done.stdout == "" and os.listdir(tmp_path / "models") == [], name


def test_a_file_that_crashes_the_reader_costs_only_a_process(tmp_path):
    """Bytes changed all over a file: HDF5's library may crash, smelt says so. With the one in
    tests/keras, which a fuzzer found, HDF5 1.10 frees what it never allocated."""
    done = run("model", "import", os.path.join(ROOT, "tests/keras/crash-hdf5-1.10.h5"), "-o",
               tmp_path / "x", code=1)
    assert "damaged" in done.stderr and os.listdir(tmp_path) == []
    good = open(os.path.join(ROOT, "fuzz/corpus/keras/good-keras1.h5"), "rb").read()
    generator = numpy.random.default_rng(7)
    for i in range(60):
        data = bytearray(good)
        for at in generator.integers(0, len(data) // 4, 40):
            data[at] = generator.integers(0, 256)
        (tmp_path / "x.h5").write_bytes(data)
        done = run("model", "import", tmp_path / "x.h5", "-o", tmp_path / "x", code=1)
        assert done.stderr.splitlines()[-1].startswith("smelt: "), done.stderr
        assert os.listdir(tmp_path) == ["x.h5"]


def test_folders_and_usage(keras1, imported, tmp_path):
    before = (imported / "smelt.json").stat().st_ino
    done = run("model", "import", keras1, "-o", imported, code=1)
    assert "is there already" in done.stderr and "--force" in done.stderr
    assert (imported / "smelt.json").stat().st_ino == before
    for args, text in (((keras1,), "one file and a folder"),
                       (("-o", "x"), "one file and a folder"),
                       ((keras1, "-o", tmp_path / "a b"), "letters, digits and . _ -"),
                       ((keras1, "-o", tmp_path / "x", "--resize", "nearest"), "--resize must be")):
        assert text in run("model", "import", *args, code=2).stderr
    assert "did you mean 'model import'" in run("model", "imprt", code=2).stderr
    assert "fetch" in run("model", "--help").stdout
    # what a killed import left is swept away
    stale = tmp_path / ".x.new"
    stale.mkdir()
    (stale / "model.onnx").write_text("half")
    run("model", "import", keras1, "-o", tmp_path / "x/")
    assert os.listdir(tmp_path) == ["x"]
    wrong = class_index(tmp_path / "wrong.json", ["a", "b"])
    done = run("model", "import", keras1, "-o", tmp_path / "y", "--labels", wrong, code=1)
    assert "names 2 classes, the model has 1000" in done.stderr


# ---- list and inspect -------------------------------------------------------------------------

def test_list_and_inspect(imported, tmp_path):
    models = "%s:%s/models:%s" % (imported.parent, ROOT, tmp_path)
    lines = [json.loads(line) for line in run("model", "list", "--json", "--models", models)
             .stdout.splitlines()]
    assert [(p["name"], p["default"]) for p in lines[:2]] == [("xception", True), ("demo", False)]
    sha = hashlib.sha256((imported / "model.onnx").read_bytes()).hexdigest()
    assert lines[0]["sha256"] == sha and (lines[0]["width"], lines[0]["height"]) == (299, 299)
    table = run("model", "list", environment={"SMELT_MODELS": models}).stdout
    assert "* xception " in table and sha[:12] in table and "  demo " in table
    assert "* demo " in run("model", "list", "--models", ROOT + "/models").stdout
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "smelt.json").write_text("{")
    done = run("model", "list", "--models", models, code=1)
    assert "* xception" in done.stdout and str(broken) in done.stderr
    shown = run("model", "inspect", imported).stdout
    for text in ("[1, 3, 299, 299]", "[1, 1000]", "16.7", sha, "299 x 299 nchw rgb, stretch nearest exact pillow",
                 "dog: 118 classes"):
        assert text in shown, shown
    assert "did you mean 'demo'" in run("model", "inspect", "demoo", code=1).stderr


def test_inspect_layers():
    shown = run("model", "inspect", ROOT + "/models/demo", "--layers").stdout
    rows = [line.split() for line in shown.split("\n\n")[1].splitlines()[1:]]
    assert any(r[1] == "Conv" and r[7] == "fp32" for r in rows), shown
    work = sum(float(r[3]) for r in rows) / 1e3
    assert "%.3f GFLOP" % work in shown  # the layers' work is the model's
    timed = run("model", "inspect", ROOT + "/models/demo", "--profile").stdout
    assert timed.splitlines()[-1].startswith("%d steps, " % len(rows)), timed


# ---- fetch ------------------------------------------------------------------------------------

class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves server.folder with ranges. server.break_after: bytes of an answer before it breaks off."""

    def do_GET(self):
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        if server.redirect:
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        try:
            with open(os.path.join(server.folder, os.path.basename(self.path)), "rb") as f:
                data = f.read()
        except OSError:
            self.send_error(404)
            return
        start = 0
        if self.headers.get("Range") and server.ranges:
            start = int(self.headers["Range"].split("=")[1].rstrip("-"))
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", "bytes %d-%d/%d" % (start, len(data) - 1, len(data)))
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        end = len(data)
        if server.break_after and self.path.endswith(".h5"):
            end = min(end, start + server.break_after)
        self.wfile.write(data[start:end])
        if end < len(data):
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def mirror(tmp_path, keras1):
    folder = tmp_path / "mirror"
    folder.mkdir()
    weights = folder / "xception_weights_tf_dim_ordering_tf_kernels.h5"
    os.symlink(keras1, weights)
    labels = class_index(folder / "imagenet_class_index.json")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
    server.folder, server.requests = folder, []
    server.ranges, server.break_after, server.redirect = True, 0, None
    server.md5 = hashlib.md5(weights.read_bytes()).hexdigest()
    server.labels_md5 = hashlib.md5(labels.read_bytes()).hexdigest()
    server.url = "http://127.0.0.1:%d/some/folder" % server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(mirror, folder, *args, code=0, md5=None):
    return run("model", "fetch", "xception", "--from", mirror.url + "/", "--models", folder,
               "--md5", md5 or mirror.md5, "--labels-md5", mirror.labels_md5, *args, code=code)


def weight_ranges(mirror):
    return [r for path, r in mirror.requests if path.endswith(".h5")]


def test_fetch_makes_the_default_model(mirror, imported, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    done = fetch(mirror, models)
    assert "22910480 parameters" in done.stdout
    assert mirror.requests == [
        ("/some/folder/imagenet_class_index.json", None),
        ("/some/folder/xception_weights_tf_dim_ordering_tf_kernels.h5", None)]
    assert os.listdir(models) == ["xception"]
    assert (models / "xception/model.onnx").read_bytes() == (imported / "model.onnx").read_bytes()
    assert (models / "xception/labels.txt").read_text().startswith("name_0\nname_1\n")
    assert "* xception" in run("model", "list", "--models", models).stdout
    # a second time nothing is asked for
    assert "is there already" in fetch(mirror, models).stdout
    assert len(mirror.requests) == 2


def test_fetch_goes_on_where_it_stopped(mirror, tmp_path):
    """With a small file that is no model: it arrives whole, then the import refuses it."""
    models, name = tmp_path / "models", "xception_weights_tf_dim_ordering_tf_kernels.h5"
    cache = models / ".xception.fetch"
    data = numpy.random.default_rng(3).bytes(3000000)
    os.remove(mirror.folder / name)
    (mirror.folder / name).write_bytes(data)
    mirror.md5 = hashlib.md5(data).hexdigest()

    def arrives(ranges, left=None):
        shutil.rmtree(models, ignore_errors=True)
        if left is not None:
            cache.mkdir(parents=True)
            (cache / (name + ".part")).write_bytes(left)
        mirror.requests.clear()
        done = fetch(mirror, models, code=1)
        assert "neither an HDF5 file (.h5) nor a .keras archive: 3000000 bytes" in done.stderr
        assert (cache / name).read_bytes() == data
        assert weight_ranges(mirror) == ranges

    # every answer breaks off after a million bytes: the rest is asked for at once
    mirror.break_after = 1000000
    arrives([None, "bytes=1000000-", "bytes=2000000-"])
    mirror.break_after = 0
    # a part that an earlier smelt left; a server that does no ranges
    arrives(["bytes=1000000-"], left=data[:1000000])
    arrives(["bytes=3000000-"], left=data)
    mirror.ranges = False
    arrives(["bytes=1000000-"], left=data[:1000000])
    mirror.ranges = True
    # a part of another file, and one that is too long
    arrives(["bytes=5000-", None], left=b"x" * 5000)
    arrives(["bytes=3000001-", None], left=data + b"x")
    # what has arrived is not asked for again
    mirror.requests.clear()
    fetch(mirror, models, code=1)
    assert mirror.requests == []


def test_fetch_says_what_is_wrong(mirror, tmp_path):
    models = tmp_path / "models"
    models.mkdir()

    def refused(text, *args, **kwargs):
        done = fetch(mirror, models, *args, **kwargs)
        assert text in done.stderr, done.stderr
        assert not (models / "xception").exists()
        return done

    refused("is not the file that was expected", code=1, md5="0" * 32)
    assert os.listdir(models / ".xception.fetch") == ["imagenet_class_index.json"]
    refused("--md5 must be 32 hexadecimal digits", code=2, md5="zz")
    # without --md5 only the official file will do
    done = run("model", "fetch", "xception", "--from", mirror.url, "--models", models,
               "--labels-md5", mirror.labels_md5, code=1)
    assert "0a58e3b7378bc2990ea3b43d5981f1f6" in done.stderr
    mirror.redirect = "https://elsewhere.example/x"
    done = refused("redirects to 'https://elsewhere.example/x', which is not followed", code=1)
    assert "--from" in done.stderr
    mirror.redirect = None
    os.remove(mirror.folder / "xception_weights_tf_dim_ordering_tf_kernels.h5")
    refused("there is no such file (HTTP status 404)", code=1)
    assert "did you mean 'xception'" in run("model", "fetch", "xeption", code=2).stderr
    assert "http:// or https://" in run("model", "fetch", "xception", "--from", "ftp://x", code=2).stderr


def test_without_a_network_it_says_what_to_do(tmp_path):
    port = smelt.free_port()
    done = run("model", "fetch", "xception", "--from", "http://127.0.0.1:%d" % port,
               "--models", tmp_path, code=1)
    assert "cannot connect to 127.0.0.1:%d" % port in done.stderr
    assert ("Without a network, bring xception_weights_tf_dim_ordering_tf_kernels.h5 (MD5 0a58e3b7"
            in done.stderr and "--from URL" in done.stderr)
    assert os.listdir(tmp_path) == []
