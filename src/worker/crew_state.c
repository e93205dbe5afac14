// What serves and what was refused, in a file for other processes: the gateway names the models
// that stand there, `smelt model list` tells of refusals.
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "job/json_time.h"
#include "worker/crew_internal.h"

static void write_model(const struct crew_model *m, struct buf *out)
{
    buf_add_text(out, "{\"name\":");
    json_escape(span_from(m->name), out);
    buf_printf(out, ",\"precision\":\"%s\",\"sha256\":\"%s\"}", m->precision, m->sha256);
}

void crew_state_write(const struct crew *c)
{
    AUTO_BUF struct buf out = {0};
    struct error error;
    char text[600];
    if (c->config.state_file == NULL)
        return;
    buf_add_text(&out, "{\"v\":1,\"model\":");
    json_escape(span_from(c->config.model), &out);
    json_time_write("at", clock_wall_ms(), &out);
    buf_printf(&out, ",\"generation\":%u,\"serving\":[",
               c->serving != NULL ? c->serving->number : 0);
    for (size_t i = 0; c->serving != NULL && i < c->model_count; i++) {
        if (i > 0)
            buf_add_char(&out, ',');
        write_model(&c->models[i], &out);
    }
    buf_add_text(&out, "],\"refused\":");
    json_escape(span_from(c->refused), &out);
    json_time_write("refused_at", c->refused[0] != '\0' ? c->refused_wall_ms : 0, &out);
    buf_add_text(&out, "}\n");
    if (file_replace(c->config.state_file, buf_view(&out), 0644, &error) != OK)
        log_event(LOG_WARN, "state_unwritten", "why=%s", log_quote(error.msg, text, sizeof text));
}
