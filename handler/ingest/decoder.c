/* Raw lines as columns: every line that is certain to be accepted is decoded here, each of its bytes looked at once.
 *
 * A line is left to the decoder of single lines (lines.py), which knows all of JSON and every reason to reject, unless
 * it is a JSON object in UTF-8 with a plain machine_id, a real timestamp that is not too late, no failure code, and at
 * least one reading, each a number within its range. Nothing is rejected here; the answer to doubt is "left".
 *
 * decoder.py is the one caller, and describes each field of Decoder where it fills it. All memory is the caller's.
 */
#include "json.h"
#include "text.h"
#include "values.h"

enum { MOST_NAMES = 128, NAME_SLOTS = 256, LONGEST_MACHINE_ID = 256 };
enum { SHAPES = 8, MOST_MEMBERS = 16 };
enum { MACHINE_ID = -1, TIMESTAMP = -2, FAILURE_CODE = -3, IGNORED = -4, UNKNOWN = -5 };

static const double NOT_THERE = __builtin_nan("");

typedef struct {
    Text name; /* in quotation marks */
    int64_t kind; /* the number of a reading, or one of the kinds above */
    double lowest, highest;
} Field;

typedef struct {
    Text text;
    int64_t object, number;
} Left;

typedef struct {
    Text text; /* whole lines, but for the last one of an object */
    int64_t object, offset, number; /* whose lines they are, the byte to go on at, and how many lines were before */
    const Field *fields;
    int64_t field_count, reading_count;
    int64_t latest;

    int32_t *machines;
    int64_t *times;
    double *readings;
    int64_t row_count, row_capacity;
    int64_t unknown_count;

    Text *machine_ids;
    int64_t machine_count, machine_capacity;
    int32_t *slots;
    int64_t slot_mask;

    Left *left;
    int64_t left_count, left_capacity;
} Decoder;

/* The names of one line's unknown fields; slots hold numbers and one, 0 where they are free. */
typedef struct {
    Text names[MOST_NAMES];
    uint8_t slots[NAME_SLOTS];
    int count;
} Names;

/* A line of plain values, cut where they are: what stands before each, and what it is. */
typedef struct {
    Text before; /* up to the value; of a text, its first quotation mark too */
    const Field *field;
    bool is_text;
} Member;

typedef struct {
    Member members[MOST_MEMBERS];
    int count; /* 0 of a line whose values are not all plain */
    Text ending;
} Shape;

/* What the lines before tell: writers repeat themselves. All texts are within the lines being decoded. */
typedef struct {
    Minute minute;
    int32_t machine;
    Shape shapes[SHAPES], draft; /* of lines before, and of the one that is being decoded */
    int shape, oldest; /* the last line's, and the one to be replaced next */
    int following[SHAPES]; /* which one came after each */
    Names unknown;
} Memory;

static const Field UNKNOWN_FIELD = {.kind = UNKNOWN};

static uint64_t load(const uint8_t *at, const uint8_t *end)
{
    uint64_t word = 0;
    if (end - at >= 8)
        memcpy(&word, at, 8);
    else
        memcpy(&word, at, (size_t)(end - at));
    return word;
}

static uint64_t hash(Text text)
{
    const uint64_t odd = 0x9E3779B97F4A7C15; /* 2^64 divided by the golden ratio */
    const uint8_t *end = text.start + text.length;
    uint64_t mixed = (uint64_t)text.length;
    for (const uint8_t *at = text.start; at < end; at += 8) {
        mixed = (mixed ^ load(at, end)) * odd;
        mixed ^= mixed >> 32;
    }
    return mixed;
}

typedef struct {
    Text machine_id;
    int64_t time;
    bool has_time, has_code;
    int64_t readings, unknown_numbers;
} Line;

/* The line's next field, in quotation marks; NULL where there is none. */
static const Field *take_name(const Decoder *d, Cursor *c, Text *name)
{
    for (int64_t i = 0; i < d->field_count; i++)
        if (take_bytes(c, d->fields[i].name))
            return &d->fields[i];
    return take_text(c, name) ? &UNKNOWN_FIELD : NULL;
}

/* Remember a name; false where the line had it before, or has too many. */
static bool add_name(Names *names, Text name)
{
    if (names->count == MOST_NAMES)
        return false;
    uint64_t slot = hash(name) % NAME_SLOTS;
    for (; names->slots[slot] != 0; slot = (slot + 1) % NAME_SLOTS)
        if (is_equal(name, names->names[names->slots[slot] - 1]))
            return false;
    names->names[names->count++] = name;
    names->slots[slot] = (uint8_t)names->count;
    return true;
}

static void forget_names(Names *names)
{
    if (names->count > 0)
        memset(names->slots, 0, sizeof names->slots);
    names->count = 0;
}

static bool take_reading(const Decoder *d, Cursor *c, const Field *field, Line *line)
{
    double *value = &d->readings[field->kind * d->row_capacity + d->row_count];
    Number number;
    if (*value == *value) /* it is no NaN any more: the line had one before */
        return false;
    if (take_word(c, "null", 4))
        return true;
    line->readings++;
    return take_number(c, &number) && to_double(&number, value) && *value >= field->lowest && *value <= field->highest;
}

static bool take_value(const Decoder *d, Cursor *c, const Field *field, Text name, Line *line, Memory *memory)
{
    bool is_number, is_again;
    Text text;
    switch (field->kind) {
    case IGNORED:
        return skip_value(c, 0, &is_number);
    case UNKNOWN:
        if (!skip_value(c, 0, &is_number))
            return false;
        line->unknown_numbers += is_number;
        return add_name(&memory->unknown, name);
    case MACHINE_ID:
        return line->machine_id.start == NULL && take_text(c, &line->machine_id);
    case TIMESTAMP:
        is_again = line->has_time;
        line->has_time = true;
        return !is_again && take_text(c, &text) && read_time(text, &memory->minute, &line->time);
    case FAILURE_CODE:
        is_again = line->has_code;
        line->has_code = true;
        return !is_again && take_word(c, "null", 4);
    default:
        return take_reading(d, c, field, line);
    }
}

/* Add a member to the shape of the line; `from` is where the value before it ended, and becomes where its own does. */
static void add_member(Shape *shape, const Field *field, const uint8_t **from, const uint8_t *value, const uint8_t *end)
{
    bool is_text = *value == '"';
    bool is_number = is_digit(*value) || *value == '-';
    bool is_plain = field->kind >= 0 ? is_number : is_text || (is_number && field->kind <= IGNORED);
    if (!is_plain || shape->count < 0 || shape->count == MOST_MEMBERS) {
        shape->count = -1;
        return;
    }
    value += is_text;
    shape->members[shape->count++] = (Member){{*from, value - *from}, field, is_text};
    *from = end - is_text;
}

/* The members of any line. */
static bool take_members(const Decoder *d, Cursor *c, Line *line, Memory *memory)
{
    const uint8_t *from = c->at;
    Shape *draft = &memory->draft;
    draft->count = 0;
    if (!take_mark(c, '{'))
        return false;
    do {
        Text name = {0};
        const Field *field = take_name(d, c, &name);
        if (field == NULL || !take_mark(c, ':'))
            return false;
        const uint8_t *value = c->at;
        if (!take_value(d, c, field, name, line, memory))
            return false;
        add_member(draft, field, &from, value, c->at);
    } while (take_mark(c, ','));
    draft->ending.start = from;
    bool is_whole = take_mark(c, '}');
    draft->ending.length = c->at - from;
    return is_whole;
}

/* The value of a member; of a text, up to its last quotation mark. */
static bool take_plain_value(const Decoder *d, Cursor *c, const Member *member, Line *line, Memory *memory)
{
    Text text = {.start = c->at};
    Number number;
    if (member->field->kind >= 0)
        return take_reading(d, c, member->field, line);
    if (!member->is_text) {
        line->unknown_numbers += member->field->kind == UNKNOWN;
        return take_number(c, &number);
    }
    find_special(c);
    text.length = c->at - text.start;
    switch (member->field->kind) {
    case MACHINE_ID:
        line->machine_id = text;
        return true;
    case TIMESTAMP:
        line->has_time = true;
        return read_time(text, &memory->minute, &line->time);
    default:
        return true;
    }
}

/* The members of a line that differs from an earlier one in nothing but its values. */
static bool take_shape(const Decoder *d, Cursor *c, const Shape *shape, Line *line, Memory *memory)
{
    for (int i = 0; i < shape->count; i++)
        if (!take_bytes(c, shape->members[i].before) || !take_plain_value(d, c, &shape->members[i], line, memory))
            return false;
    return shape->count > 0 && take_bytes(c, shape->ending);
}

static void begin_line(const Decoder *d, Cursor *c, const uint8_t *start, Line *line)
{
    *line = (Line){0};
    c->at = start;
    c->seen = 0;
    for (int64_t i = 0; i < d->reading_count; i++)
        d->readings[i * d->row_capacity + d->row_count] = NOT_THERE;
}

static bool is_good(const Decoder *d, const Cursor *c, const uint8_t *start, const Line *line)
{
    return (c->at == c->end || *c->at == '\n') && line->machine_id.length > 0 &&
           line->machine_id.length <= LONGEST_MACHINE_ID && line->has_time && line->time <= d->latest &&
           line->readings > 0 && (c->seen == 0 || is_utf8(start, c->at));
}

/* Remember that the line after one of the last shape had this one. */
static void note_shape(Memory *memory, int shape)
{
    memory->following[memory->shape] = shape;
    memory->shape = shape;
}

static bool take_line(const Decoder *d, Cursor *c, Line *line, Memory *memory)
{
    const uint8_t *start = c->at;
    int likely = memory->following[memory->shape];
    for (int i = 0; i < SHAPES; i++) {
        int shape = (likely + i) % SHAPES;
        begin_line(d, c, start, line);
        if (take_shape(d, c, &memory->shapes[shape], line, memory) && is_good(d, c, start, line)) {
            note_shape(memory, shape);
            return true;
        }
    }
    begin_line(d, c, start, line);
    forget_names(&memory->unknown);
    if (!take_members(d, c, line, memory) || !is_good(d, c, start, line))
        return false;
    if (memory->draft.count > 0) {
        memory->shapes[memory->oldest] = memory->draft;
        note_shape(memory, memory->oldest);
        memory->oldest = (memory->oldest + 1) % SHAPES;
    }
    return true;
}

/* Where a machine is, or belongs: slots hold numbers and one, 0 where they are free, and are never all taken. */
static int32_t *find_slot(const Decoder *d, Text id)
{
    uint64_t slot = hash(id) & (uint64_t)d->slot_mask;
    while (d->slots[slot] != 0 && !is_equal(id, d->machine_ids[d->slots[slot] - 1]))
        slot = (slot + 1) & (uint64_t)d->slot_mask;
    return &d->slots[slot];
}

/* Put the machines there are into slots, all of which are free. */
void place_machines(Decoder *d)
{
    for (int32_t machine = 0; machine < d->machine_count; machine++)
        *find_slot(d, d->machine_ids[machine]) = machine + 1;
}

static int32_t number_machine(Decoder *d, Text id, int32_t last)
{
    for (int32_t likely = last; likely < d->machine_count && likely <= last + 1; likely++)
        if (is_equal(id, d->machine_ids[likely]))
            return likely;
    int32_t *slot = find_slot(d, id);
    if (*slot != 0)
        return *slot - 1;
    d->machine_ids[d->machine_count++] = id;
    *slot = (int32_t)d->machine_count;
    return (int32_t)d->machine_count - 1;
}

static void leave(Decoder *d, const uint8_t *start, const uint8_t *end)
{
    d->left[d->left_count++] = (Left){.text = {start, end - start}, .object = d->object, .number = d->number};
}

static bool has_room(const Decoder *d)
{
    return d->row_count < d->row_capacity && d->machine_count < d->machine_capacity &&
           d->left_count < d->left_capacity;
}

/* Go on until the text is decoded, or there is no room for what another line may need: then false. */
bool decode_lines(Decoder *d)
{
    Memory memory = {0};
    Line line;
    const uint8_t *first = d->text.start, *end = first + d->text.length;
    Cursor c = {.at = first + d->offset, .end = end};
    while (c.at < end && has_room(d)) {
        const uint8_t *start = c.at;
        d->number++;
        skip_blanks(&c);
        if (take(&c, '\n') || c.at == end)
            continue;
        if (take_line(d, &c, &line, &memory)) {
            memory.machine = number_machine(d, line.machine_id, memory.machine);
            d->machines[d->row_count] = memory.machine;
            d->times[d->row_count++] = line.time;
            d->unknown_count += line.unknown_numbers;
            take(&c, '\n');
            continue;
        }
        const uint8_t *line_feed = memchr(start, '\n', (size_t)(end - start));
        leave(d, start, line_feed == NULL ? end : line_feed);
        c.at = line_feed == NULL ? end : line_feed + 1;
    }
    d->offset = c.at - first;
    return c.at == end;
}
