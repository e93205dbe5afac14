// A bar chart as SVG, for the report of `smelt experiment`.
#include "base/text.h"
#include "cli/experiment.h"

#include <math.h>

// The drawing's own units; a page scales it.
enum { WIDTH = 640, HEIGHT = 300, LEFT = 62, RIGHT = 12, TOP = 40, BOTTOM = 34, LINES = 4 };

// The least of 1, 2, 2.5, 5 times a power of ten whose LINES-fold holds the value.
static double step_for(double value)
{
    static const double steps[] = {1, 2, 2.5, 5, 10};
    if (!(value > 0))
        return 1.0 / LINES;
    double power = pow(10, floor(log10(value / LINES)));
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        if (steps[i] * power * LINES >= value)
            return steps[i] * power;
    return 10 * power;
}

static void write_axis(double step, const char *unit, struct buf *out)
{
    for (int i = 0; i <= LINES; i++) {
        double y = HEIGHT - BOTTOM - (double)(HEIGHT - TOP - BOTTOM) * i / LINES;
        buf_printf(out,
                   "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>"
                   "<text x=\"%d\" y=\"%.1f\" class=\"tick\" text-anchor=\"end\">%.4g</text>\n",
                   LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, step * i);
    }
    buf_printf(out, "<text x=\"%d\" y=\"%d\" class=\"tick\">", LEFT, TOP - 10);
    xml_escape(span_from(unit), out);
    buf_add_text(out, "</text>\n");
}

static void write_bar(const struct svg_bars *c, int group, int series, double top, struct buf *out)
{
    double value = c->values[group][series];
    double slot = (double)(WIDTH - LEFT - RIGHT) / c->group_count;
    double width = slot * 0.8 / c->series_count;
    double x = LEFT + slot * group + slot * 0.1 + width * series;
    double height = (HEIGHT - TOP - BOTTOM) * value / top;
    if (value < 0)
        return;
    buf_printf(out,
               "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"s%d\"><title>",
               x, HEIGHT - BOTTOM - height, width - 2 > 1 ? width - 2 : 1,
               height > 0.5 ? height : 0.5, series);
    xml_escape(span_from(c->series[series]), out);
    buf_printf(out, ", n = %s: %.4g</title></rect>\n", c->groups[group], value);
    if (width >= 30) // room for the number
        buf_printf(out,
                   "<text x=\"%.1f\" y=\"%.1f\" class=\"value\" text-anchor=\"middle\">%.3g"
                   "</text>\n",
                   x + width / 2 - 1, HEIGHT - BOTTOM - height - 4, value);
}

void svg_bars_write(const struct svg_bars *c, struct buf *out)
{
    double highest = 0;
    for (int g = 0; g < c->group_count; g++)
        for (int s = 0; s < c->series_count; s++)
            highest = fmax(highest, c->values[g][s]);
    double step = step_for(highest * 1.05);
    buf_printf(out, "<figure><figcaption>%s</figcaption>\n", c->title);
    buf_printf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    xml_escape(span_from(c->title), out);
    buf_add_text(out, "\">\n");
    write_axis(step, c->unit, out);
    for (int g = 0; g < c->group_count; g++) {
        double slot = (double)(WIDTH - LEFT - RIGHT) / c->group_count;
        for (int s = 0; s < c->series_count; s++)
            write_bar(c, g, s, step * LINES, out);
        buf_printf(
            out, "<text x=\"%.1f\" y=\"%d\" class=\"tick\" text-anchor=\"middle\">n = %s</text>\n",
            LEFT + slot * (g + 0.5), HEIGHT - BOTTOM + 20, c->groups[g]);
    }
    buf_add_text(out, "</svg></figure>\n");
}
