/* Moments that merge: what moments.py does with arrays, a segment at a time, with the same sums to the bit.
 *
 * compiled_moments.py is the one caller; all memory is its own.
 */
#include "sums.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

/* One variable of each row: its ends, and where its mean lies between them. */
typedef struct {
    void *low, *high; /* of int64 where it is whole, else of double */
    double *centre;
    bool is_whole;
} Axis;

typedef struct {
    Axis x, y;
    int64_t *n, *tiles;
    double *first, *last; /* NULL, as tiles, where rows have none */
    double *x_m2, *x_m3, *x_m4, *y_m2, *cross;
} Rows;

typedef struct {
    Rows rows;
    const int64_t *starts; /* of the segments, and the end of the last */
    int64_t segment_count;
    double *scratch; /* SCRATCH times the longest segment */
    int64_t longest;
    Rows merged; /* a row a segment */
} Merger;

enum { SCALE_X, SCALE_Y, OFFSET_X, OFFSET_Y, TERMS, SCRATCH };

static double divide(double part, double whole) { return whole != 0 ? part / whole : 0; }

static double subtract(const Axis *a, const void *from, int64_t row, const void *what, int64_t other)
{
    if (a->is_whole)
        return (double)(((const int64_t *)from)[row] - ((const int64_t *)what)[other]);
    return ((const double *)from)[row] - ((const double *)what)[other];
}

static bool is_less(const Axis *a, const void *ends, int64_t row, int64_t other)
{
    if (a->is_whole)
        return ((const int64_t *)ends)[row] < ((const int64_t *)ends)[other];
    return ((const double *)ends)[row] < ((const double *)ends)[other];
}

static void copy_end(const Axis *a, void *to, int64_t at, const void *from, int64_t row)
{
    if (a->is_whole)
        ((int64_t *)to)[at] = ((const int64_t *)from)[row];
    else
        ((double *)to)[at] = ((const double *)from)[row];
}

static void copy_row(const Merger *m, int64_t row, int64_t at)
{
    const Rows *r = &m->rows;
    const Rows *to = &m->merged;
    copy_end(&r->x, to->x.low, at, r->x.low, row);
    copy_end(&r->x, to->x.high, at, r->x.high, row);
    copy_end(&r->y, to->y.low, at, r->y.low, row);
    copy_end(&r->y, to->y.high, at, r->y.high, row);
    to->x.centre[at] = r->x.centre[row];
    to->y.centre[at] = r->y.centre[row];
    to->n[at] = r->n[row];
    to->x_m2[at] = r->x_m2[row];
    to->x_m3[at] = r->x_m3[row];
    to->x_m4[at] = r->x_m4[row];
    to->y_m2[at] = r->y_m2[row];
    to->cross[at] = r->cross[row];
    if (r->tiles != NULL)
        to->tiles[at] = r->tiles[row];
    if (r->first != NULL)
        to->first[at] = r->first[row];
    if (r->last != NULL)
        to->last[at] = r->last[row];
}

/* The rows that have the ends of a segment. */
typedef struct {
    int64_t lowest, highest;
} Ends;

/* Rescale the rows' positions to the ends of all: how much shorter each row is, and how far its mean is from all's. */
static Ends merge_axis(const Merger *m, const Axis *a, const Axis *to, int64_t start, int64_t count, int64_t at,
                       double total, double *scale, double *offset)
{
    double *terms = m->scratch + TERMS * m->longest;
    Ends ends = {start, start};
    for (int64_t row = start + 1; row < start + count; row++) {
        ends.lowest = is_less(a, a->low, row, ends.lowest) ? row : ends.lowest;
        ends.highest = is_less(a, a->high, ends.highest, row) ? row : ends.highest;
    }
    double length = subtract(a, a->high, ends.highest, a->low, ends.lowest);
    for (int64_t i = 0; i < count; i++) {
        int64_t row = start + i;
        scale[i] = divide(subtract(a, a->high, row, a->low, row), length);
        /* each divided before they are added: a subnormal length times a centre is no position any more */
        offset[i] = divide(subtract(a, a->low, row, a->low, ends.lowest), length) + scale[i] * a->centre[row];
        terms[i] = offset[i] * (double)m->rows.n[row];
    }
    double middle = divide(add(terms, count), total);
    for (int64_t i = 0; i < count; i++)
        offset[i] -= middle;
    copy_end(a, to->low, at, a->low, ends.lowest);
    copy_end(a, to->high, at, a->high, ends.highest);
    to->centre[at] = middle;
    return ends;
}

/* The highest value of the rows that reach an end of y. */
static double pick(const Axis *y, const void *ends, int64_t end, const double *values, int64_t start, int64_t count)
{
    double highest = -INFINITY;
    for (int64_t row = start; row < start + count; row++)
        if (!is_less(y, ends, row, end) && !is_less(y, ends, end, row) && values[row] > highest)
            highest = values[row];
    return highest;
}

static void merge_rows(const Merger *m, int64_t start, int64_t count, int64_t at)
{
    const Rows *rows = &m->rows;
    const Rows *to = &m->merged;
    double *r = m->scratch + SCALE_X * m->longest, *q = m->scratch + SCALE_Y * m->longest;
    double *d = m->scratch + OFFSET_X * m->longest, *e = m->scratch + OFFSET_Y * m->longest;
    double *terms = m->scratch + TERMS * m->longest;
    int64_t n = 0, tiles = 0;
    for (int64_t row = start; row < start + count; row++) {
        n += rows->n[row];
        tiles += rows->tiles != NULL ? rows->tiles[row] : 0;
    }
    to->n[at] = n;
    if (rows->tiles != NULL)
        to->tiles[at] = tiles;
    merge_axis(m, &rows->x, &to->x, start, count, at, (double)n, r, d);
    Ends ends = merge_axis(m, &rows->y, &to->y, start, count, at, (double)n, q, e);
    if (rows->first != NULL)
        to->first[at] = pick(&rows->y, rows->y.low, ends.lowest, rows->first, start, count);
    if (rows->last != NULL)
        to->last[at] = pick(&rows->y, rows->y.high, ends.highest, rows->last, start, count);

    const int64_t *ns = rows->n + start;
    const double *x_m2 = rows->x_m2 + start, *x_m3 = rows->x_m3 + start, *x_m4 = rows->x_m4 + start;
    for (int64_t i = 0; i < count; i++)
        terms[i] = r[i] * r[i] * x_m2[i] + (double)ns[i] * (d[i] * d[i]);
    to->x_m2[at] = add(terms, count);
    for (int64_t i = 0; i < count; i++) {
        double r2 = r[i] * r[i], d2 = d[i] * d[i];
        terms[i] = r2 * r[i] * x_m3[i] + 3 * d[i] * (r2 * x_m2[i]) + (double)ns[i] * d2 * d[i];
    }
    to->x_m3[at] = add(terms, count);
    for (int64_t i = 0; i < count; i++) {
        double r2 = r[i] * r[i], d2 = d[i] * d[i];
        terms[i] = r2 * r2 * x_m4[i] + 4 * d[i] * (r2 * r[i] * x_m3[i]) + 6 * d2 * (r2 * x_m2[i]) +
                   (double)ns[i] * d2 * d2;
    }
    to->x_m4[at] = add(terms, count);
    for (int64_t i = 0; i < count; i++)
        terms[i] = q[i] * q[i] * rows->y_m2[start + i] + (double)ns[i] * e[i] * e[i];
    to->y_m2[at] = add(terms, count);
    for (int64_t i = 0; i < count; i++)
        terms[i] = r[i] * q[i] * rows->cross[start + i] + (double)ns[i] * d[i] * e[i];
    to->cross[at] = add(terms, count);
}

/* Merge each segment's rows into one; a row that is alone stays as it is. */
void merge_segments(const Merger *m)
{
    for (int64_t at = 0; at < m->segment_count; at++) {
        int64_t start = m->starts[at], count = m->starts[at + 1] - start;
        if (count == 1)
            copy_row(m, start, at);
        else
            merge_rows(m, start, count, at);
    }
}

/* Take some rows of columns whose values are of 8 bytes each, into columns of the same. */
void take_rows(const uint64_t *const *columns, uint64_t *const *taken, int64_t column_count, const int64_t *rows,
               int64_t row_count)
{
    for (int64_t column = 0; column < column_count; column++)
        for (int64_t at = 0; at < row_count; at++)
            taken[column][at] = columns[column][rows[at]];
}
