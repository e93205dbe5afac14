// The layers of a loaded model as a table for people: what each makes, how much it works and moves,
// which kernel does it, where its result lies, and on request how long it takes.
#pragma once

#include "engine/engine.h"

#include <stdio.h>

// runs: how often the model is run on noise; the fastest time of each layer counts. 0: no times.
enum err inspect_layers(const struct engine *e, int runs, FILE *out,
                        struct error *error) MUST_CHECK;
