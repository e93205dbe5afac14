#include "cli/quantize_print.h"

#include "base/text.h"

#include <math.h>
#include <stdio.h>

static double decibels(double noise)
{
    return noise > 0 ? -10 * log10(noise) : 999;
}

static void print_number(double x)
{
    if (isnan(x))
        printf(" %9s", "-");
    else
        printf(" %9.1f", x);
}

void quantize_print(const struct quantize_report *r, const char *folder, size_t pictures)
{
    printf("%-5s %-18s %8s %9s %9s %9s %8s  %s\n", "", "operator", "GFLOP", "weights", "rounding",
           "running", "cosine", "result");
    for (size_t i = 0; i < r->layer_count; i++) {
        const struct quantize_layer *l = &r->layers[i];
        printf("%-5s %-18s %8.4f", l->int8 ? "int8" : "fp32", l->op, l->gflop);
        print_number(l->weights_db);
        print_number(l->rounding_db);
        print_number(l->running_db);
        printf(" %8.5f  %s\n", l->cosine, l->result);
    }
    printf("signal to noise in dB: of the rounded weights, of the rounded result alone, of the "
           "result with all rounding before it\n\n");
    for (size_t i = 0; i < r->trial_count; i++) {
        const struct quantize_trial *t = &r->trials[i];
        printf("%s %-26s %6.2f dB, cosine %.5f, same answer %6.2f %%, %8.3f ms\n",
               t->taken ? "*" : " ", t->what, decibels(t->score.noise), t->score.cosine,
               100 * t->score.agreement, t->score.cpu_ms);
    }
    printf("\n%zu pictures: %.2f dB, cosine %.5f, same answer for %.2f %%; %.3f ms instead of "
           "%.3f ms (processor time)\nwritten to %s\n",
           pictures, decibels(r->score.noise), r->score.cosine, 100 * r->score.agreement,
           r->score.cpu_ms, r->fp32_cpu_ms, folder);
}

static void json_number(struct buf *out, const char *name, double x)
{
    if (isnan(x))
        buf_printf(out, ",\"%s\":null", name);
    else
        buf_printf(out, ",\"%s\":%.6g", name, x);
}

static void json_score(struct buf *out, const struct quantize_score *s)
{
    json_number(out, "sqnr_db", decibels(s->noise));
    json_number(out, "cosine", s->cosine);
    json_number(out, "agreement", s->agreement);
    json_number(out, "cpu_ms", s->cpu_ms);
}

void quantize_print_json(const struct quantize_report *r, const char *folder, size_t pictures)
{
    AUTO_BUF struct buf out = {0};
    buf_printf(&out, "{\"pictures\":%zu,\"output\":", pictures);
    json_escape(span_from(folder), &out);
    json_score(&out, &r->score);
    json_number(&out, "fp32_cpu_ms", r->fp32_cpu_ms);
    buf_add_text(&out, ",\"trials\":[");
    for (size_t i = 0; i < r->trial_count; i++) {
        const struct quantize_trial *t = &r->trials[i];
        buf_printf(&out, "%s{\"what\":\"%s\",\"taken\":%s", i > 0 ? "," : "", t->what,
                   t->taken ? "true" : "false");
        json_score(&out, &t->score);
        buf_add_char(&out, '}');
    }
    buf_add_text(&out, "],\"layers\":[");
    for (size_t i = 0; i < r->layer_count; i++) {
        const struct quantize_layer *l = &r->layers[i];
        buf_add_text(&out, i > 0 ? ",{\"result\":" : "{\"result\":");
        json_escape(span_from(l->result), &out);
        buf_printf(&out, ",\"op\":\"%s\",\"precision\":\"%s\"", l->op, l->int8 ? "int8" : "fp32");
        json_number(&out, "gflop", l->gflop);
        json_number(&out, "weights_db", l->weights_db);
        json_number(&out, "rounding_db", l->rounding_db);
        json_number(&out, "running_db", l->running_db);
        json_number(&out, "cosine", l->cosine);
        buf_add_char(&out, '}');
    }
    buf_add_text(&out, "]}");
    puts(out.data);
}
