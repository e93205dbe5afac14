// One core, the same ONNX files, turn by turn: smelt's engine and ONNX Runtime.
//
//   mkdir peer && cd peer && npm init -y && npm install onnxruntime-node --ignore-scripts
//   node bench/peers/onnxruntime.mjs --modules peer/node_modules [--rounds 7] [--runs 20] A.onnx B.onnx
//
// ONNX Runtime is only a peer here: nothing of smelt needs it. Its package holds the library for
// Linux, the install script would fetch CUDA's. Both sides run one thread, held to the same core
// (taskset), in alternating rounds; each round gives the processor time of a picture. The figure is the
// median over the rounds; the ratio is the median of the rounds' ratios, so that what else runs on the
// machine meets both. A JSON line per model on stdout, a table on stderr.
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const SELF = fileURLToPath(import.meta.url);
const SMELT = path.join(path.dirname(SELF), "..", "..", "smelt");

function median(values) {
    const sorted = [...values].sort((a, b) => a - b);
    const half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function parse(argv) {
    const options = { modules: "node_modules", rounds: 7, runs: 20, core: 0, models: [] };
    for (let i = 0; i < argv.length; i++) {
        const name = argv[i].replace(/^--/, "");
        if (argv[i].startsWith("--") && name in options && i + 1 < argv.length)
            options[name] = typeof options[name] === "number" ? Number(argv[++i]) : argv[++i];
        else if (argv[i].startsWith("--")) throw new Error(`unknown option ${argv[i]}`);
        else options.models.push(argv[i]);
    }
    return options;
}

// The inner side: one model, `runs` pictures, processor milliseconds of each.
async function measurePeer(options) {
    const require = createRequire(path.resolve(options.modules) + "/");
    const ort = require("onnxruntime-node");
    const session = await ort.InferenceSession.create(options.models[0], {
        intraOpNumThreads: 1, interOpNumThreads: 1, executionMode: "sequential",
        graphOptimizationLevel: "all",
    });
    const [input] = session.inputMetadata;
    const shape = input.shape.map((d) => (typeof d === "number" && d > 0 ? d : 1));
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) },
                                   (_, i) => ((i * 2654435761) % 4294967296) / 2147483648 - 1);
    const feeds = { [input.name]: new ort.Tensor("float32", data, shape) };
    for (let i = 0; i < 3; i++) await session.run(feeds);
    const times = [];
    for (let i = 0; i < options.runs; i++) {
        const before = process.cpuUsage();
        await session.run(feeds);
        const used = process.cpuUsage(before);
        times.push((used.user + used.system) / 1000);
    }
    const version = require("onnxruntime-node/package.json").version;
    console.log(JSON.stringify({ version, cpu_ms: median(times) }));
}

function run(command, args) {
    const done = spawnSync(command, args, { encoding: "utf8", env: { ...process.env, OMP_NUM_THREADS: "1" } });
    if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${done.stderr || done.error}`);
    return done.stdout.trim().split("\n").map((line) => JSON.parse(line));
}

function compare(model, options) {
    const taskset = (command, args) => run("taskset", ["-c", String(options.core), command, ...args]);
    const ours = [], theirs = [];
    let version = "", precision = "", peak = 0, fraction = [];
    for (let round = 0; round < options.rounds; round++) {
        const seconds = String(Math.max(1, Math.ceil((theirs[0] ?? 50) * options.runs / 1000)));
        // the first line is the file as it is: fp32, or int8 where it is quantized
        const [us] = taskset(SMELT, ["bench", "engine", "--model", model, "--seconds", seconds]);
        const [them] = taskset(process.execPath, [SELF, "--peer", "--modules", options.modules,
                                                "--runs", String(options.runs), model]);
        ours.push(us.cpu_ms);
        theirs.push(them.cpu_ms);
        fraction.push(us.fraction_of_peak);
        version = them.version;
        precision = us.precision;
        peak = us.peak_gops;
    }
    return {
        bench: "engine-peer", model: path.basename(model, ".onnx"), precision, peer: `onnxruntime ${version}`,
        smelt_cpu_ms: median(ours), peer_cpu_ms: median(theirs),
        times_faster: median(ours.map((x, i) => theirs[i] / x)),
        fraction_of_peak: median(fraction), peak_gops: peak, rounds: options.rounds,
    };
}

function main(argv) {
    const inner = argv[0] === "--peer";
    const options = parse(inner ? argv.slice(1) : argv);
    if (inner) return measurePeer(options);
    if (options.models.length === 0) throw new Error("no models; see the top of this file");
    console.error("processor ms a picture, one core     smelt  ONNX Runtime   times faster");
    for (const model of options.models) {
        const r = compare(model, options);
        console.log(JSON.stringify(r));
        console.error(r.model.padEnd(30), r.smelt_cpu_ms.toFixed(2).padStart(11),
                      r.peer_cpu_ms.toFixed(2).padStart(13), r.times_faster.toFixed(2).padStart(14));
    }
    return undefined;
}

try {
    await main(process.argv.slice(2));
} catch (error) {
    console.error(`onnxruntime.mjs: ${error.message}`);
    process.exit(1);
}
