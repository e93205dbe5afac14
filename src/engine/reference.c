#include "engine/reference.h"

#include "engine/ops.h"

#include <stdlib.h>
#include <string.h>

static enum err run_node(const struct graph *g, const struct node *n, struct tensor *live,
                         struct error *error)
{
    struct tensor *in = calloc((size_t)n->input_count + 1, sizeof *in);
    struct tensor *out = &live[n->outputs[0]];
    *out = g->values[n->outputs[0]].t;
    size_t bytes = (size_t)shape_count(&out->shape) * dtype_bytes(out->dtype);
    out->data = malloc(bytes > 0 ? bytes : 1);
    if (in == NULL || out->data == NULL) {
        free(in);
        return node_fail(n, ERR_NOMEM, error, "no memory for its result");
    }
    for (int k = 0; k < n->input_count; k++)
        if (n->inputs[k] >= 0)
            in[k] =
                live[n->inputs[k]].data != NULL ? live[n->inputs[k]] : g->values[n->inputs[k]].t;
    n->op->plain(n, in, out);
    free(in);
    return OK;
}

// Frees what nobody reads after node i.
static void release_read(const struct graph *g, const struct node *n, int *readers,
                         struct tensor *live)
{
    for (int k = 0; k < n->input_count; k++) {
        int v = n->inputs[k];
        if (v < 0 || --readers[v] > 0 || g->values[v].producer < 0)
            continue;
        free(live[v].data);
        live[v].data = NULL;
    }
}

// live[v]: the tensors computed so far; readers[v]: nodes that will still read v.
static enum err run_graph(const struct graph *g, const float *input, float *output,
                          struct tensor *live, int *readers, struct error *error)
{
    const struct tensor *x = &g->values[g->input].t, *y = &g->values[g->output].t;
    size_t bytes = (size_t)shape_count(&x->shape) * sizeof(float);
    for (int v = 0; v < g->value_count; v++)
        readers[v] = g->values[v].readers;
    live[g->input] = *x;
    live[g->input].data = malloc(bytes);
    if (live[g->input].data == NULL)
        return fail(error, ERR_NOMEM, 0, "no memory to run the model");
    memcpy(live[g->input].data, input, bytes);
    for (int i = 0; i < g->node_count; i++) {
        if (g->nodes[i].dead)
            continue;
        TRY(run_node(g, &g->nodes[i], live, error));
        release_read(g, &g->nodes[i], readers, live);
    }
    memcpy(output, live[g->output].data, (size_t)shape_count(&y->shape) * sizeof(float));
    return OK;
}

enum err reference_run(const struct graph *g, const float *input, float *output,
                       struct error *error)
{
    size_t values = (size_t)g->value_count;
    struct tensor *live = calloc(values, sizeof *live);
    int *readers = calloc(values, sizeof *readers);
    enum err err = ERR_NOMEM;
    if (live != NULL && readers != NULL)
        err = run_graph(g, input, output, live, readers, error);
    else
        fail(error, ERR_NOMEM, 0, "no memory to run the model");
    for (size_t v = 0; v < values && live != NULL; v++)
        free(live[v].data);
    free(live);
    free(readers);
    return err;
}
