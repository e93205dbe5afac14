#!/usr/bin/python3
"""int8 against fp32: the demo model on held-out pictures (its accuracy may change by 0.5 %), and
Xception with random weights (cosine of the logits, reported)."""
import argparse
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SMELT = ROOT / "smelt"
LIMIT = 0.005
PART = 200  # pictures of one call of smelt


def run(*args):
    done = subprocess.run([SMELT, *args], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False,
                          stderr=subprocess.PIPE, timeout=3000)
    if done.returncode != 0:
        sys.exit("FAILED smelt %s: %s" % (" ".join(map(str, args[:3])), done.stderr.strip()))
    return done.stdout


def answers(model, files):
    """The index of the best class of each file."""
    best = []
    for first in range(0, len(files), PART):
        lines = run("predict", "--json", "--model", model, *files[first:first + PART]).splitlines()
        best += [json.loads(line)["result"]["predictions"][0]["index"] for line in lines]
    return best


def check_demo(folder, held_out, total):
    if held_out is None:
        held_out = folder / "held-out"
        subprocess.run([sys.executable, ROOT / "tools" / "train_demo.py", "--held-out", held_out,
                        str(total)], check=True, stdout=subprocess.DEVNULL)
    labels = (ROOT / "models/demo/labels.txt").read_text().splitlines()
    with open(held_out / "index.csv") as index:
        rows = list(csv.DictReader(index))
    files = [str(held_out / row["file"]) for row in rows]
    truth = [labels.index(row["label"]) for row in rows]
    # calibrated on the samples alone: none of the pictures that are counted
    report = json.loads(run("model", "quantize", "models/demo", "--calibrate", "samples", "-o",
                            folder / "demo-int8", "--json"))
    right = {}
    got = {name: answers(model, files)
           for name, model in (("fp32", "models/demo"), ("int8", folder / "demo-int8"))}
    for name, found in got.items():
        right[name] = sum(a == b for a, b in zip(found, truth)) / len(truth)
    same = sum(a == b for a, b in zip(got["fp32"], got["int8"])) / len(truth)
    apart = right["int8"] - right["fp32"]
    good = abs(apart) <= LIMIT
    print("%s demo model in int8, %d held-out pictures: right %.2f %% (fp32 %.2f %%), same answer "
          "%.2f %%, logits %.1f dB" % ("ok" if good else "FAILED", len(truth), 100 * right["int8"],
                                      100 * right["fp32"], 100 * same, report["sqnr_db"]))
    return good


def check_xception(folder):
    model = folder / "xception.onnx"
    subprocess.run([sys.executable, ROOT / "tools" / "make_xception.py", model, "--softmax"],
                   check=True)
    report = json.loads(run("model", "quantize", model, "--pictures", "6", "-o",
                            folder / "xception-int8", "--json"))
    good = report["cosine"] > 0.99
    print("%s xception, random weights, in int8: cosine of the logits %.5f, %.1f dB, %.1f ms of "
          "processor time (fp32 %.1f ms)" % ("ok" if good else "FAILED", report["cosine"],
                                            report["sqnr_db"], report["cpu_ms"],
                                            report["fp32_cpu_ms"]))
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--held-out", type=pathlib.Path, help="pictures that were written before")
    parser.add_argument("--pictures", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        good = check_demo(folder, args.held_out, args.pictures)
        good = check_xception(folder) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
