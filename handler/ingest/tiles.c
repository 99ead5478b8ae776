/* Accepted lines in order, and as tiles: what ordered_lines.py and moments.py do with arrays, in one pass a tile.
 *
 * Sums are taken in the order and grouping in which numpy's add.reduceat takes them, so the results are those of
 * moments.summarize to the bit, but for the sign of zeros. compiled_tiles.py is the one caller; all memory is its own.
 */
#include "sums.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { NEARBY = 8 };

/* The columns of tiles; each has room for all there can be. */
typedef struct {
    int64_t *machine, *reading, *n, *time_min, *time_max;
    double *first, *last, *value_min, *value_max, *value_centre, *value_m2, *value_m3, *value_m4;
    double *time_centre, *time_m2, *cross;
} Tiles;

typedef struct {
    const int32_t *machines;
    const int64_t *times; /* in microseconds */
    const double *readings; /* row_count of the first reading, then of the next; NaN where a row has none */
    int64_t row_count, reading_count;
    const int64_t *starts; /* of the segments, each of one machine and tile, and the end of the last */
    int64_t segment_count;
    double *values; /* room for the longest segment, as the next four */
    int64_t *own_times;
    double *x, *y, *products;
    Tiles tiles;
} Summarizer;

typedef struct {
    const int32_t *machines, *ranks; /* of the rows, and where each comes in the order */
    const int64_t *times;
    const double *readings; /* row_capacity of the first reading, then of the next */
    int64_t row_count, row_capacity, reading_count, machine_count;
    int64_t *ends, *rows; /* a 0 for each machine and one more; room for a number a row */
    void *spare; /* room for a time or a value a row */
    int32_t *ordered_machines;
    int64_t *ordered_times;
    double *ordered_readings; /* row_count of the first reading, then of the next */
} Order;

/* ---- Order ---- */

/* Sort row numbers by time, stable; what is in order already is left so. */
static void sort_rows(int64_t *rows, int64_t count, const int64_t *times, int64_t *spare)
{
    if (count < 2)
        return;
    int64_t half = count / 2;
    sort_rows(rows, half, times, spare);
    sort_rows(rows + half, count - half, times, spare);
    if (times[rows[half - 1]] <= times[rows[half]])
        return;
    memcpy(spare, rows, (size_t)half * sizeof *rows);
    int64_t left = 0, right = half, to = 0;
    while (left < half && right < count)
        rows[to++] = times[rows[right]] < times[spare[left]] ? rows[right++] : spare[left++];
    memcpy(rows + to, spare + left, (size_t)(half - left) * sizeof *rows);
}

/* Move a row to before those of later times; false, and nothing is moved, if that is further than `furthest`. */
static bool move_back(const Order *o, int64_t start, int64_t row, int64_t furthest)
{
    int64_t *times = o->ordered_times, time = times[row], to = row;
    while (to > start && times[to - 1] > time)
        if (row - --to > furthest)
            return false;
    for (int64_t at = row; at > to; at--)
        times[at] = times[at - 1];
    times[to] = time;
    for (int64_t reading = 0; reading < o->reading_count; reading++) {
        double *values = o->ordered_readings + reading * o->row_count, value = values[row];
        for (int64_t at = row; at > to; at--)
            values[at] = values[at - 1];
        values[to] = value;
    }
    return true;
}

/* Bring rows of one machine into the order of their times by merging. */
static void merge_sort(const Order *o, int64_t start, int64_t count)
{
    int64_t *times = o->ordered_times + start, *whole = o->spare;
    for (int64_t row = 0; row < count; row++)
        o->rows[row] = row;
    sort_rows(o->rows, count, times, whole);
    for (int64_t at = 0; at < count; at++)
        whole[at] = times[o->rows[at]];
    memcpy(times, whole, (size_t)count * sizeof *times);
    for (int64_t reading = 0; reading < o->reading_count; reading++) {
        double *values = o->ordered_readings + reading * o->row_count + start, *real = o->spare;
        for (int64_t at = 0; at < count; at++)
            real[at] = values[o->rows[at]];
        memcpy(values, real, (size_t)count * sizeof *values);
    }
}

/* The same, those of equal times as they are; mostly they are in order but for neighbours. */
static void order_by_time(const Order *o, int64_t start, int64_t end)
{
    for (int64_t row = start + 1; row < end; row++)
        if (o->ordered_times[row] < o->ordered_times[row - 1] && !move_back(o, start, row, NEARBY)) {
            merge_sort(o, start, end - start);
            return;
        }
}

/* Write the rows by machine and time; rows of equal ones stay in the order they have. */
void order_lines(const Order *o)
{
    for (int64_t row = 0; row < o->row_count; row++)
        o->ends[o->ranks[o->machines[row]] + 1]++;
    for (int64_t machine = 0; machine < o->machine_count; machine++)
        o->ends[machine + 1] += o->ends[machine];
    for (int64_t row = 0; row < o->row_count; row++) { /* each machine's start moves on to its end */
        int64_t at = o->ends[o->ranks[o->machines[row]]]++;
        o->ordered_times[at] = o->times[row];
        for (int64_t reading = 0; reading < o->reading_count; reading++)
            o->ordered_readings[reading * o->row_count + at] = o->readings[reading * o->row_capacity + row];
    }
    for (int64_t machine = 0, at = 0; machine < o->machine_count; machine++)
        while (at < o->ends[machine])
            o->ordered_machines[at++] = (int32_t)machine;
    for (int64_t machine = 0, start = 0; machine < o->machine_count; start = o->ends[machine++])
        order_by_time(o, start, o->ends[machine]);
}

/* Where the rows of another machine or tile begin, in rows that are in order; return how many segments there are. */
int64_t split_segments(const int32_t *machines, const int64_t *times, int64_t row_count, int64_t width, int64_t *starts)
{
    int64_t count = 0, end = 0;
    for (int64_t row = 0; row < row_count; row++) {
        if (row > 0 && machines[row] == machines[row - 1] && times[row] < end)
            continue;
        int64_t into = times[row] % width;
        end = times[row] - (into < 0 ? into + width : into) + width;
        starts[count++] = row;
    }
    return count;
}

/* ---- Tiles ---- */

static double centre(double *positions, int64_t count)
{
    double mean = add(positions, count) / (double)count;
    for (int64_t i = 0; i < count; i++)
        positions[i] -= mean;
    return mean;
}

/* Take together the values that a segment has of a reading; return how many there are. */
static int64_t collect(const Summarizer *s, const double *reading, int64_t first, int64_t end)
{
    int64_t count = 0;
    for (int64_t row = first; row < end; row++) {
        s->values[count] = reading[row];
        s->own_times[count] = s->times[row];
        count += reading[row] == reading[row];
    }
    return count;
}

/* Summarize what was collected; times ascend. */
static void summarize(const Summarizer *s, int64_t n, int64_t at)
{
    const Tiles *t = &s->tiles;
    const double *values = s->values;
    const int64_t *times = s->own_times;
    double *x = s->x, *y = s->y;
    double low = values[0], high = values[0], first = -INFINITY, last = -INFINITY;
    int64_t begin = times[0], end = times[n - 1];
    for (int64_t i = 0; i < n; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
        first = times[i] == begin && values[i] > first ? values[i] : first;
        last = times[i] == end && values[i] > last ? values[i] : last;
    }
    double spread = high - low, span = (double)(end - begin);
    for (int64_t i = 0; i < n; i++) {
        x[i] = spread != 0 ? (values[i] - low) / spread : 0;
        y[i] = span != 0 ? (double)(times[i] - begin) / span : 0;
    }
    t->n[at] = n;
    t->time_min[at] = begin;
    t->time_max[at] = end;
    t->first[at] = first;
    t->last[at] = last;
    t->value_min[at] = low;
    t->value_max[at] = high;
    t->value_centre[at] = centre(x, n);
    t->time_centre[at] = centre(y, n);
    t->cross[at] = add_products(x, y, n, s->products);
    t->time_m2[at] = add_products(y, y, n, s->products);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * x[i];
    t->value_m2[at] = add(y, n);
    t->value_m3[at] = add_products(y, x, n, s->products);
    t->value_m4[at] = add_products(y, y, n, s->products);
}

/* Write the tiles by machine, reading and time; return how many there are. */
int64_t summarize_lines(const Summarizer *s)
{
    int64_t count = 0;
    for (int64_t first = 0, next; first < s->segment_count; first = next) {
        int32_t machine = s->machines[s->starts[first]];
        for (next = first + 1; next < s->segment_count && s->machines[s->starts[next]] == machine;)
            next++;
        for (int64_t reading = 0; reading < s->reading_count; reading++)
            for (int64_t segment = first; segment < next; segment++) {
                int64_t start = s->starts[segment];
                int64_t n = collect(s, s->readings + reading * s->row_count, start, s->starts[segment + 1]);
                if (n == 0)
                    continue;
                summarize(s, n, count);
                s->tiles.machine[count] = machine;
                s->tiles.reading[count++] = reading;
            }
    }
    return count;
}
