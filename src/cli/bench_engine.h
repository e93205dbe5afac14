// `smelt bench engine`: how near a model comes to the core's own limit.
#pragma once

// argv[0] is "engine". Options: --model FILE, --seconds S, --layers. Returns the exit code.
int bench_engine_main(int argc, char **argv);
