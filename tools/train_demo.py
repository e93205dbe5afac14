#!/usr/bin/python3
"""Trains the demo model, or tests the one that ships. Needs Debian's python3-torch, python3-onnx,
python3-pil and fonts-noto-color-emoji; uses no data set and no foreign weights.

    tools/train_demo.py                      train; write models/demo and samples
    tools/train_demo.py --evaluate           accuracy of models/demo/model.onnx, held-out pictures
    tools/train_demo.py --samples            choose samples/ and golden.json anew
    tools/train_demo.py --held-out DIR N     write N held-out pictures and index.csv to DIR

The same seed, options and number of threads give the same pictures and the same course of
training.
"""

import argparse
import copy
import csv
import ctypes
import io
import json
import multiprocessing
import os
import sys
import tempfile
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a busy machine: spinning threads starve

import numpy as np
import torch
from torch.nn import functional as F

import emoji_pictures as pictures
from demo_network import SIDE, Demo, OnnxFile, export, to_tensor

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TRAIN_SIDES = (150, 300)     # pixels; small, because composing is the slow part
HELDOUT_SIDES = (200, 900)
SAMPLE_SIDES = (320, 640)
HELDOUT_SEED = 90001         # of --evaluate and --held-out
SAMPLE_SEED = 70001          # looked at, and kept because its pictures please
PROCESSES = 2
SAMPLE_DOGS = ["dog face", "poodle", "guide dog", "dog", "service dog", "dog face", "poodle",
               "dog"]
SAMPLE_OTHERS = ["cat face", "fox", "wolf", "horse", "panda", "owl", "object", "lion"]
DESCRIPTION = ("Recognises drawn animals (emoji), five kinds of dog among them; made for trying "
               "smelt out: it knows drawings, not photographs.")


def say(text):
    print(text, flush=True)


# ---- pictures, in parallel -----------------------------------------------------------------------

def _compose_part(task):
    """Composes a run of pictures into the shared file -> their classes"""
    path, total, split, seed, sides, first, last = task
    store = np.memmap(path, np.uint8, "r+", shape=(total, SIDE, SIDE, 3))
    labels = []
    for i in range(first, last):
        jpeg, label = pictures.compose_jpeg(split, seed, i, sides)
        store[i] = pictures.network_input(jpeg, SIDE)
        labels.append(label)
    return labels


def compose_many(split, seed, total, sides, folder):
    """-> network inputs uint8 (total, SIDE, SIDE, 3), a file in folder mapped; classes (total,)"""
    path = os.path.join(folder, f"{split}-{seed}-{total}")
    if os.path.exists(path + ".npy"):
        return np.memmap(path, np.uint8, "r", shape=(total, SIDE, SIDE, 3)), np.load(path + ".npy")
    np.memmap(path, np.uint8, "w+", shape=(total, SIDE, SIDE, 3)).flush()
    tasks = [(path, total, split, seed, sides, i, min(i + 250, total))
             for i in range(0, total, 250)]
    labels, began = [], time.time()
    with multiprocessing.Pool(PROCESSES) as pool:
        for part in pool.imap(_compose_part, tasks):
            labels += part
            if len(labels) % 10000 == 0:
                say(f"  {len(labels)} of {total} {split} pictures, {time.time() - began:.0f} s")
    np.save(path + ".npy", np.array(labels))
    return np.memmap(path, np.uint8, "r", shape=(total, SIDE, SIDE, 3)), np.array(labels)


# ---- training ------------------------------------------------------------------------------------

def _vary(rng, batch):
    """Cheap variety for pictures seen again: mirror, shift, gain. uint8 (n, h, w, 3) -> tensor"""
    out = np.empty_like(batch)
    for i, picture in enumerate(batch):
        if rng.random() < 0.5:
            picture = picture[:, ::-1]
        dy, dx = rng.integers(-6, 7, 2)
        rows = np.clip(np.arange(SIDE) + dy, 0, SIDE - 1)
        columns = np.clip(np.arange(SIDE) + dx, 0, SIDE - 1)
        out[i] = picture[rows][:, columns]
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (len(batch), 3, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(rng.uniform(-0.1, 0.1, (len(batch), 1, 1, 1)).astype(np.float32))
    return (to_tensor(out) * gain + shift).clamp_(-1, 1)


def _loss(logits, target):
    """Which animal, and beside it the question that the demo asks: is it a dog?"""
    log_p = F.log_softmax(logits, 1)
    dog = log_p[:, :pictures.DOG_CLASSES].logsumexp(1)
    other = log_p[:, pictures.DOG_CLASSES:].logsumexp(1)
    is_dog = target < pictures.DOG_CLASSES
    return F.nll_loss(log_p, target) - 0.5 * torch.where(is_dog, dog, other).mean()


def _average_into(average, network, keep):
    with torch.no_grad():
        for a, b in zip(average.state_dict().values(), network.state_dict().values()):
            if a.dtype.is_floating_point:
                a.lerp_(b, 1 - keep)
            else:
                a.copy_(b)


def train(seed, data, labels, epochs, batch=128, top_rate=4e-3):
    """-> the network whose weights are the running average of those trained"""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = Demo(len(pictures.LABELS)).to(memory_format=torch.channels_last)
    average = copy.deepcopy(network)
    decayed = [p for p in network.parameters() if p.dim() > 1]
    plain = [p for p in network.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05},
                                   {"params": plain, "weight_decay": 0.0}])
    steps = epochs * (len(data) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, top_rate, steps, pct_start=0.2)
    began, step, recent = time.time(), 0, []
    for epoch in range(epochs):
        order = rng.permutation(len(data))
        for first in range(0, len(data) - batch + 1, batch):
            index = np.sort(order[first:first + batch])
            logits = network(_vary(rng, data[index]))
            loss = _loss(logits, torch.from_numpy(labels[index]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            _average_into(average, network, min(0.998, step / (step + 10)))
            recent.append(float(loss.detach()))
        say(f"  epoch {epoch + 1} of {epochs}: loss {np.mean(recent):.4f}, "
            f"{time.time() - began:.0f} s")
        recent = []
    return average.eval()


# ---- evaluation ----------------------------------------------------------------------------------

def scores_of(run, data):
    """run: tensor -> probabilities; data uint8 (n, h, w, 3) -> (n, classes)"""
    with torch.no_grad():
        return np.concatenate([run(to_tensor(data[i:i + 100])).numpy()
                               for i in range(0, len(data), 100)])


def judge(scores, labels):
    """The figures of the model card."""
    said = scores[:, :pictures.DOG_CLASSES].sum(1) >= 0.5
    is_dog = labels < pictures.DOG_CLASSES
    best = scores.argmax(1)
    wrong = {}
    for a, b in zip(labels[best != labels], best[best != labels]):
        pair = (pictures.LABELS[a], pictures.LABELS[b])
        wrong[pair] = wrong.get(pair, 0) + 1
    return {
        "pictures": len(labels), "dogs": int(is_dog.sum()),
        "dog_question_accuracy": round(float((said == is_dog).mean()), 4),
        "false_positive_rate": round(float(said[~is_dog].mean()), 4),
        "false_negative_rate": round(float((~said[is_dog]).mean()), 4),
        "class_accuracy": round(float((best == labels).mean()), 4),
        "top5_accuracy": round(float((np.argsort(-scores, 1)[:, :5] == labels[:, None])
                                     .any(1).mean()), 4),
        "false_dogs": _count(pictures.LABELS[i] for i in labels[said & ~is_dog]),
        "missed_dogs": _count(pictures.LABELS[i] for i in labels[~said & is_dog]),
        "confusions": [f"{a} taken for {b}: {n}"
                       for (a, b), n in sorted(wrong.items(), key=lambda x: -x[1])[:10]],
    }


def _count(names):
    counts = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda x: -x[1]))


def evaluate(folder, total):
    """The shipped ONNX file on held-out pictures, and on animals that no training picture had."""
    run = OnnxFile(os.path.join(folder, "model.onnx"))
    with tempfile.TemporaryDirectory() as scratch:
        data, labels = compose_many("heldout", HELDOUT_SEED, total, HELDOUT_SIDES, scratch)
        figures = judge(scores_of(run, data), labels)
        data, labels = compose_many("unseen", HELDOUT_SEED, total // 4, HELDOUT_SIDES, scratch)
        dog = scores_of(run, data)[:, :pictures.DOG_CLASSES].sum(1) >= 0.5
        figures["animals_never_seen"] = {"pictures": len(labels),
                                         "taken_for_dogs": round(float(dog.mean()), 4)}
    say(json.dumps(figures, indent=1, ensure_ascii=False))
    return figures


# ---- files ---------------------------------------------------------------------------------------

def write_package(folder, network):
    os.makedirs(folder, exist_ok=True)
    export(network, os.path.join(folder, "model.onnx"))
    with open(os.path.join(folder, "labels.txt"), "w") as f:
        f.write("".join(label + "\n" for label in pictures.LABELS))
    package = {
        "name": "demo", "version": "1", "description": DESCRIPTION,
        "file": "model.onnx", "labels": "labels.txt",
        "input": {"width": SIDE, "height": SIDE, "layout": "nchw", "color": "rgb",
                  "resize": "stretch", "filter": "bilinear", "orient": True,
                  "mean": [127.5] * 3, "std": [127.5] * 3},
        "output": {"kind": "probabilities", "top_k": 5},
        "groups": {"dog": [f"0-{pictures.DOG_CLASSES - 1}"]}, "group_threshold": 0.5,
    }
    with open(os.path.join(folder, "smelt.json"), "w") as f:
        f.write(json.dumps(package, indent=2) + "\n")


def _first_good(run, wanted, start):
    """The first held-out picture from index `start` on that shows the wanted class and is
    answered right with at least 0.9 -> (JPEG bytes, probabilities, next index)"""
    for i in range(start, start + 5000):
        label = pictures.class_of("heldout", SAMPLE_SEED, i)
        if pictures.LABELS[label] != wanted:
            continue
        image, _ = pictures.compose("heldout", SAMPLE_SEED, i, SAMPLE_SIDES)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=90)
        scores = scores_of(run, pictures.network_input(out.getvalue(), SIDE)[None])[0]
        if scores[label] >= 0.9:
            return out.getvalue(), scores, i + 1
    raise SystemExit(f"no good sample of '{wanted}' in 5000 pictures: is the model trained?")


def write_samples(folder, samples):
    """samples/dog-N.jpg, nodog-N.jpg: for each wished class the next held-out picture that is
    answered right and sure. golden.json: what this program makes of four of them."""
    run = OnnxFile(os.path.join(folder, "model.onnx"))
    os.makedirs(samples, exist_ok=True)
    golden, index = {}, 0
    for kind, wishes in (("dog", SAMPLE_DOGS), ("nodog", SAMPLE_OTHERS)):
        for n, wanted in enumerate(wishes, 1):
            jpeg, scores, index = _first_good(run, wanted, index)
            name = f"{kind}-{n}.jpg"
            with open(os.path.join(samples, name), "wb") as f:
                f.write(jpeg)
            dog = float(scores[:pictures.DOG_CLASSES].sum())
            say(f"  {name}: {wanted} {scores.max():.3f}, dog {dog:.3f}")
            if n <= 2:
                golden[name] = {"dog": round(dog, 5),
                                "top": [[pictures.LABELS[i], round(float(scores[i]), 5)]
                                        for i in np.argsort(-scores)[:5]]}
    with open(os.path.join(folder, "golden.json"), "w") as f:
        f.write(json.dumps(golden, indent=1) + "\n")


def write_heldout(folder, total):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "index.csv"), "w", newline="") as f:
        table = csv.writer(f, lineterminator="\n")
        table.writerow(["file", "label", "is_dog"])
        for i in range(total):
            jpeg, label = pictures.compose_jpeg("heldout", HELDOUT_SEED, i, HELDOUT_SIDES)
            name = f"heldout-{i:05d}.jpg"
            with open(os.path.join(folder, name), "wb") as out:
                out.write(jpeg)
            table.writerow([name, pictures.LABELS[label], int(label < pictures.DOG_CLASSES)])


def _keep_freed_memory():
    """glibc hands big freed blocks back and fetches them anew each step; half the time is that."""
    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 1 << 30)        # M_MMAP_THRESHOLD
    libc.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=20000, help="training pictures")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--cache", metavar="DIR",
                        help="keep composed pictures there (1 GB) and use them again")
    parser.add_argument("--model", default=os.path.join(ROOT, "models", "demo"), metavar="DIR")
    parser.add_argument("--samples-dir", default=os.path.join(ROOT, "samples"), metavar="DIR")
    parser.add_argument("--count", type=int, default=2000, help="pictures to evaluate on")
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--samples", action="store_true")
    parser.add_argument("--held-out", nargs=2, metavar=("DIR", "N"))
    options = parser.parse_args()

    began = time.time()
    _keep_freed_memory()
    torch.set_num_threads(PROCESSES)
    if options.held_out:
        write_heldout(options.held_out[0], int(options.held_out[1]))
        return 0
    if options.samples:
        write_samples(options.model, options.samples_dir)
        return 0
    if not options.evaluate:
        with tempfile.TemporaryDirectory() as scratch:
            data, labels = compose_many("train", options.seed, options.pictures, TRAIN_SIDES,
                                        options.cache or scratch)
            network = train(options.seed, data, labels, options.epochs)
        write_package(options.model, network)
        write_samples(options.model, options.samples_dir)
        say(f"trained in {time.time() - began:.0f} s")
    figures = evaluate(options.model, options.count)
    return 0 if figures["dog_question_accuracy"] >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
