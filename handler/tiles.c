/* Accepted lines in order, and as tiles: what ordered_lines.py and moments.py do with arrays, in one pass a tile.
 *
 * Sums are taken in the order and grouping in which numpy's add.reduceat takes them, so the results are those of
 * moments.summarize to the bit, but for the sign of zeros. compiled_tiles.py is the one caller; all memory is its own.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { BLOCK = 128, LANES = 8 }; /* numpy's: longer sums are split, shorter ones are added in eight lanes */

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

/* The numbers of rows by machine and time, those of equal ones as they were; ends has a 0 for each machine and one. */
void order_lines(const int32_t *machines, const int64_t *times, int64_t row_count, int64_t machine_count,
                 int64_t *ends, int64_t *order, int64_t *spare)
{
    for (int64_t row = 0; row < row_count; row++)
        ends[machines[row] + 1]++;
    for (int64_t machine = 0; machine < machine_count; machine++)
        ends[machine + 1] += ends[machine];
    for (int64_t row = 0; row < row_count; row++) /* each machine's start moves on to its end */
        order[ends[machines[row]]++] = row;
    for (int64_t machine = 0, start = 0; machine < machine_count; start = ends[machine++])
        sort_rows(order + start, ends[machine] - start, times, spare);
}

/* ---- Tiles ---- */

static double add_pairwise(const double *values, int64_t count)
{
    if (count > BLOCK) {
        int64_t half = count / 2;
        half -= half % LANES;
        return add_pairwise(values, half) + add_pairwise(values + half, count - half);
    }
    double sum = 0;
    int64_t at = 0;
    if (count >= LANES) {
        double r[LANES];
        memcpy(r, values, sizeof r);
        for (at = LANES; at < count - count % LANES; at += LANES)
            for (int64_t lane = 0; lane < LANES; lane++)
                r[lane] += values[at + lane];
        sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    }
    for (; at < count; at++)
        sum += values[at];
    return sum;
}

static double add(const double *values, int64_t count) { return values[0] + add_pairwise(values + 1, count - 1); }

static double add_products(const double *a, const double *b, int64_t count, double *products)
{
    for (int64_t i = 0; i < count; i++)
        products[i] = a[i] * b[i];
    return add(products, count);
}

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
