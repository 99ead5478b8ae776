/* Raw lines as columns: decodes every line that is certain to be accepted, and looks once at each of its bytes.
 *
 * A certain line is a JSON object in UTF-8 with a plain machine_id, a real timestamp that is not too late, and no
 * failure code. It has at least one reading, and each is a number within its range. Every other line is a fallback
 * line: the decoder of JSON lines (json_lines.py) knows all of JSON and every reason to reject. Nothing is rejected
 * here.
 *
 * library.py is the one caller. docs/decoder.md tells what holds, and why no read passes the end of the text.
 */
#include "json.h"
#include "layout.h"
#include "text.h"
#include "values.h"

enum { MOST_UNKNOWN = 128, UNKNOWN_SLOTS = 256, LONGEST_MACHINE_ID = 256 }; /* fields a line, slots, bytes */
enum { TEMPLATES = 8, MOST_MEMBERS = 32 };
enum Kind { MACHINE_ID = -1, TIMESTAMP = -2, FAILURE_CODE = -3, IGNORED = -4, UNKNOWN = -5 };

static const double NOT_THERE = __builtin_nan("");
static const Field UNKNOWN_FIELD = {.kind = UNKNOWN};

/* The names of one line's unknown fields; a slot holds a name's number and one, 0 is a free slot. */
typedef struct {
    Text names[MOST_UNKNOWN];
    uint8_t slots[UNKNOWN_SLOTS];
    int count;
} UnknownFields;

/* One member of a template: the bytes from the end of the last value to this one, and the field whose value it is. */
typedef struct {
    Text before;
    const Field *field;
} Member;

/* A line without its values. Writers repeat themselves: most lines differ in nothing else from an earlier one. */
typedef struct {
    Member members[MOST_MEMBERS];
    int count; /* 0 is no template, MOST_MEMBERS + 1 a line that has too many */
    Text ending;
} Template;

/* What earlier lines of this call tell about the next one. All its texts lie in the decoder's text. */
typedef struct {
    Minute minute;
    int32_t machine;
    Template templates[TEMPLATES], draft; /* of earlier lines, and of the line that is being decoded */
    int last, oldest; /* the template of the last line, and the one that is replaced next */
    int following[TEMPLATES]; /* the template that came after each one */
    UnknownFields unknown;
} Earlier;

typedef struct {
    Text machine_id;
    int64_t time;
    bool has_time, has_code;
    int64_t readings, unknown_numbers;
} Line;

/* Take the name of the line's next field, in quotation marks; NULL at the line's end. */
static const Field *take_name(const Decoder *d, Cursor *c, Text *name)
{
    for (int64_t i = 0; i < d->field_count; i++)
        if (take_bytes(c, (Text){d->fields[i].name, d->fields[i].name_length}))
            return &d->fields[i];
    return take_text(c, name) ? &UNKNOWN_FIELD : NULL;
}

/* Remember an unknown field; false where the line had it before, or has too many. */
static bool add_unknown(const Decoder *d, UnknownFields *unknown, Text name)
{
    if (unknown->count == MOST_UNKNOWN)
        return false;
    uint64_t slot = hash(name, d->key_low, d->key_high) % UNKNOWN_SLOTS;
    for (; unknown->slots[slot] != 0; slot = (slot + 1) % UNKNOWN_SLOTS)
        if (is_equal(name, unknown->names[unknown->slots[slot] - 1]))
            return false;
    unknown->names[unknown->count++] = name;
    unknown->slots[slot] = (uint8_t)unknown->count;
    return true;
}

static bool take_reading(const Decoder *d, Cursor *c, const Field *field, Line *line)
{
    double *value = &d->readings[field->kind * d->row_capacity + d->row_count];
    Number number;
    if (*value == *value) /* it is no NaN any more: the line had one before */
        return false;
    if (take_word(c, "null"))
        return true;
    line->readings++;
    return take_number(c, &number) && to_double(&number, value) && *value >= field->lowest && *value <= field->highest;
}

/* Take the value of a field, which may be one that the line had before. */
static bool take_value(const Decoder *d, Cursor *c, const Field *field, Line *line, Minute *minute)
{
    bool is_number, is_again;
    Text text;
    switch (field->kind) {
    case IGNORED:
    case UNKNOWN:
        if (c->at < c->end && *c->at == '"')
            return skip_text(c);
        if (!skip_value(c, 0, &is_number))
            return false;
        line->unknown_numbers += is_number && field->kind == UNKNOWN;
        return true;
    case MACHINE_ID:
        return line->machine_id.start == NULL && take_text(c, &line->machine_id);
    case TIMESTAMP:
        is_again = line->has_time;
        line->has_time = true;
        return !is_again && take_text(c, &text) && read_time(text, minute, &line->time);
    case FAILURE_CODE:
        is_again = line->has_code;
        line->has_code = true;
        return !is_again && take_word(c, "null");
    default:
        return take_reading(d, c, field, line);
    }
}

/* Take the members of any line, and draft its template. */
static bool take_members(const Decoder *d, Cursor *c, Line *line, Earlier *earlier)
{
    const uint8_t *from = c->at;
    Template *draft = &earlier->draft;
    draft->count = 0;
    if (!take_mark(c, '{'))
        return false;
    do {
        Text name = {0};
        const Field *field = take_name(d, c, &name);
        if (field == NULL || !take_mark(c, ':'))
            return false;
        if (draft->count < MOST_MEMBERS)
            draft->members[draft->count] = (Member){{from, c->at - from}, field};
        draft->count += draft->count <= MOST_MEMBERS;
        if (!take_value(d, c, field, line, &earlier->minute))
            return false;
        if (field->kind == UNKNOWN && !add_unknown(d, &earlier->unknown, name))
            return false;
        from = c->at;
    } while (take_mark(c, ','));
    bool is_whole = take_mark(c, '}');
    draft->ending = (Text){from, c->at - from};
    return is_whole;
}

/* Take the members of a line that differs from a template in nothing but its values. */
static bool take_template(const Decoder *d, Cursor *c, const Template *template, Line *line, Minute *minute)
{
    for (int i = 0; i < template->count; i++)
        if (!take_bytes(c, template->members[i].before) || !take_value(d, c, template->members[i].field, line, minute))
            return false;
    return template->count > 0 && take_bytes(c, template->ending);
}

static void begin_line(const Decoder *d, Cursor *c, const uint8_t *start, Line *line)
{
    *line = (Line){0};
    c->at = start;
    c->seen = 0;
    for (int64_t i = 0; i < d->reading_count; i++)
        d->readings[i * d->row_capacity + d->row_count] = NOT_THERE;
}

static bool is_certain(const Decoder *d, const Cursor *c, const uint8_t *start, const Line *line)
{
    bool is_whole = c->at == c->end || *c->at == '\n' || *c->at == '{'; /* white space is behind us */
    return is_whole && line->machine_id.length > 0 && line->machine_id.length <= LONGEST_MACHINE_ID && line->has_time &&
           line->time <= d->latest && line->readings > 0 && (c->seen == 0 || is_utf8(start, c->at));
}

/* Remember that a line of this template came after one of the last template. */
static void note_template(Earlier *earlier, int template)
{
    earlier->following[earlier->last] = template;
    earlier->last = template;
}

static bool take_line(const Decoder *d, Cursor *c, Line *line, Earlier *earlier)
{
    const uint8_t *start = c->at;
    int likely = earlier->following[earlier->last];
    for (int i = 0; i < TEMPLATES; i++) {
        int number = (likely + i) % TEMPLATES;
        begin_line(d, c, start, line);
        if (take_template(d, c, &earlier->templates[number], line, &earlier->minute) && is_certain(d, c, start, line)) {
            note_template(earlier, number);
            return true;
        }
    }
    begin_line(d, c, start, line);
    memset(earlier->unknown.slots, 0, sizeof earlier->unknown.slots);
    earlier->unknown.count = 0;
    if (!take_members(d, c, line, earlier) || !is_certain(d, c, start, line))
        return false;
    if (earlier->draft.count <= MOST_MEMBERS) {
        earlier->templates[earlier->oldest] = earlier->draft;
        note_template(earlier, earlier->oldest);
        earlier->oldest = (earlier->oldest + 1) % TEMPLATES;
    }
    return true;
}

static Text name_of(const Decoder *d, int32_t machine)
{
    int64_t start = machine == 0 ? 0 : d->name_ends[machine - 1];
    return (Text){d->names + start, d->name_ends[machine] - start};
}

/* Find the slot where a machine is or belongs. At least half of the slots are free. */
static int32_t *find_slot(const Decoder *d, Text id)
{
    uint64_t slot = hash(id, d->key_low, d->key_high) & d->slot_mask;
    while (d->slots[slot] != 0 && !is_equal(id, name_of(d, d->slots[slot] - 1)))
        slot = (slot + 1) & d->slot_mask;
    return &d->slots[slot];
}

/* Put all machines into slots, which are all free. */
void place_machines(Decoder *d)
{
    for (int32_t machine = 0; machine < d->machine_count; machine++)
        *find_slot(d, name_of(d, machine)) = machine + 1;
}

/* Give the number of a machine; mostly it is the last line's or the one after it. */
static int32_t number_machine(Decoder *d, Text id, int32_t last)
{
    for (int32_t likely = last; likely < d->machine_count && likely <= last + 1; likely++)
        if (is_equal(id, name_of(d, likely)))
            return likely;
    int32_t *slot = find_slot(d, id);
    if (*slot == 0) {
        int64_t start = d->machine_count == 0 ? 0 : d->name_ends[d->machine_count - 1];
        memcpy(d->names + start, id.start, (size_t)id.length);
        for (int64_t i = 0; i < d->reading_count; i++)
            d->last_times[i * d->machine_capacity + d->machine_count] = INT64_MIN;
        d->name_ends[d->machine_count++] = start + id.length;
        *slot = (int32_t)d->machine_count;
    }
    return *slot - 1;
}

/* Note the times of a line's readings. Lines that are ordered hold no line twice, and no two values at a time. */
static void note_times(Decoder *d, int32_t machine, int64_t time)
{
    for (int64_t i = 0; i < d->reading_count; i++) {
        double value = d->readings[i * d->row_capacity + d->row_count];
        int64_t *last = &d->last_times[i * d->machine_capacity + machine];
        if (value != value) /* NaN: the line has no such reading */
            continue;
        d->is_ordered &= time > *last;
        *last = time;
    }
}

static bool has_room(const Decoder *d)
{
    return d->row_count < d->row_capacity && d->machine_count < d->machine_capacity &&
           d->fallback_count < d->fallback_capacity;
}

/* Go on until the text is decoded, or there is no room for what another line may need: then false. */
bool decode_lines(Decoder *d)
{
    Earlier earlier = {0};
    Line line;
    const uint8_t *first = d->text, *end = first + d->text_length;
    Cursor c = {.at = first + d->offset, .end = end};
    while (c.at < end && has_room(d)) {
        const uint8_t *start = c.at;
        d->line_number += start == first || start[-1] == '\n'; /* else an object follows another on its line */
        skip_blanks(&c);
        if (take(&c, '\n') || c.at == end)
            continue;
        if (take_line(d, &c, &line, &earlier)) {
            earlier.machine = number_machine(d, line.machine_id, earlier.machine);
            note_times(d, earlier.machine, line.time);
            d->machines[d->row_count] = earlier.machine;
            d->times[d->row_count++] = line.time;
            d->unknown_count += line.unknown_numbers;
            take(&c, '\n');
            continue;
        }
        const uint8_t *line_feed = memchr(start, '\n', (size_t)(end - start));
        const uint8_t *line_end = line_feed == NULL ? end : line_feed;
        d->fallback[d->fallback_count++] = (FallbackLine){start - first, line_end - start, d->line_number};
        c.at = line_end + (line_feed != NULL);
    }
    d->offset = c.at - first;
    return c.at == end;
}
