/* Raw lines as columns: every line that is certain to be accepted is decoded here, each of its bytes looked at once.
 *
 * A line is left to the decoder of single lines (lines.py), which knows all of JSON and every reason to reject, unless
 * it is a JSON object in UTF-8 with a plain machine_id, a real timestamp that is not too late, no failure code, and at
 * least one reading, each a number within its range. Nothing is rejected here; the answer to doubt is "left".
 *
 * decoder.py is the one caller, and describes each field of Decoder where it fills it. All memory is the caller's.
 */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { MOST_NAMES = 128, NAME_SLOTS = 256, EXPECTED = 16, DEEPEST = 32, LONGEST_MACHINE_ID = 256 };
enum { MACHINE_ID = -1, TIMESTAMP = -2, FAILURE_CODE = -3, IGNORED = -4, UNKNOWN = -5 };

typedef uint8_t Block __attribute__((vector_size(16)));

static const uint64_t HIGH_BITS = 0x8080808080808080;
static const double NOT_THERE = __builtin_nan("");
static const int64_t MICROSECONDS_PER_MINUTE = 60000000;

typedef struct {
    const uint8_t *start;
    int64_t length;
} Text;

typedef struct {
    Text name; /* in quotation marks */
    uint64_t first, first_mask; /* its first 8 bytes, and 255 for each there is */
    int64_t kind; /* the number of a reading, or one of the kinds above */
    double lowest, highest;
} Field;

typedef struct {
    Text text;
    int64_t object, number;
} Left;

typedef struct {
    const Text *objects;
    int64_t object_count;
    const Field *fields;
    int64_t field_count, reading_count;
    int64_t latest;

    int32_t *machines;
    int64_t *times;
    double *readings;
    int64_t row_count, row_capacity;
    int64_t unknown_count;

    Text *machine_ids;
    int64_t machine_count;
    int32_t *slots;
    int64_t slot_mask;

    Left *left;
    int64_t left_count, left_capacity;

    int64_t object, offset, number;
} Decoder;

typedef struct {
    const uint8_t *at, *end;
    uint64_t seen; /* which bits any byte of a string had */
} Cursor;

/* The names of one line's unknown fields; slots hold numbers and one, 0 where they are free. */
typedef struct {
    Text names[MOST_NAMES];
    uint8_t slots[NAME_SLOTS];
    int count;
} Names;

/* What the lines before tell: the next one mostly has the same hour and machine. */
typedef struct {
    const uint8_t *hour; /* the text that hour_start was read from, or NULL */
    int64_t hour_start;
    int32_t machine;
    const Field *expected[EXPECTED]; /* the known field that was last in this place, or NULL */
    Names unknown;
} Memory;

static const Field UNKNOWN_FIELD = {.kind = UNKNOWN};

/* ---- Bytes ---- */

static uint64_t load(const uint8_t *at, const uint8_t *end)
{
    uint64_t word = 0;
    if (end - at >= 8)
        memcpy(&word, at, 8);
    else
        memcpy(&word, at, (size_t)(end - at));
    return word;
}

static bool is_digit(uint8_t byte) { return (uint8_t)(byte - '0') <= 9; }

static uint64_t load_word(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

/* As memcmp, which is too much for so few bytes; the last word overlaps the one before. */
static bool has_bytes(const uint8_t *at, Text expected)
{
    const uint8_t *bytes = expected.start;
    int64_t length = expected.length;
    if (length < 8) {
        for (int64_t i = 0; i < length; i++)
            if (at[i] != bytes[i])
                return false;
        return true;
    }
    for (int64_t i = 0; i < length - 8; i += 8)
        if (load_word(at + i) != load_word(bytes + i))
            return false;
    return load_word(at + length - 8) == load_word(bytes + length - 8);
}

static bool is_equal(Text a, Text b) { return a.length == b.length && has_bytes(a.start, b); }

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

static void skip_blanks(Cursor *c)
{
    const uint8_t *at = c->at;
    while (at < c->end && *at <= ' ' && (*at == ' ' || *at == '\t' || *at == '\r'))
        at++;
    c->at = at;
}

static bool take(Cursor *c, uint8_t expected)
{
    if (c->at == c->end || *c->at != expected)
        return false;
    c->at++;
    return true;
}

static bool take_mark(Cursor *c, uint8_t mark)
{
    skip_blanks(c);
    if (!take(c, mark))
        return false;
    skip_blanks(c);
    return true;
}

static bool take_word(Cursor *c, const char *word, int64_t length)
{
    if (c->end - c->at < length || memcmp(c->at, word, (size_t)length) != 0)
        return false;
    c->at += length;
    return true;
}

/* Unicode 16, table 3-7: well-formed UTF-8. */
static bool is_utf8(const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        uint8_t lead = *at++;
        if (lead < 0x80)
            continue;
        int following = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || end - at < following)
            return false;
        uint8_t lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        uint8_t highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        for (; following > 0; following--, lowest = 0x80, highest = 0xBF)
            if (*at < lowest || *at++ > highest)
                return false;
    }
    return true;
}

/* ---- JSON ---- */

/* Go on to the first quotation mark, backslash or control character; the end of the object counts as one. */
static void find_special(Cursor *c)
{
    const uint8_t *at = c->at, *end = c->end;
    Block block, seen = {0};
    uint64_t halves[2] = {0};
    for (; end - at >= (int64_t)sizeof block; at += sizeof block) {
        memcpy(&block, at, sizeof block);
        seen |= block; /* what follows the mark, too: it only makes is_utf8 look at more lines */
        Block marks = (Block)((block == '"') | (block == '\\') | (block < ' '));
        memcpy(halves, &marks, sizeof halves);
        if ((halves[0] | halves[1]) != 0) {
            at += (halves[0] != 0 ? __builtin_ctzll(halves[0]) : 64 + __builtin_ctzll(halves[1])) / 8;
            break;
        }
    }
    if ((halves[0] | halves[1]) == 0)
        for (; at < end && *at != '"' && *at != '\\' && *at >= ' '; at++)
            c->seen |= *at >= 0x80 ? HIGH_BITS : 0;
    memcpy(halves, &seen, sizeof halves);
    c->seen |= halves[0] | halves[1];
    c->at = at;
}

/* A string without escapes. */
static bool take_text(Cursor *c, Text *text)
{
    if (!take(c, '"'))
        return false;
    text->start = c->at;
    find_special(c);
    text->length = c->at - text->start;
    return take(c, '"');
}

/* A string whose content does not matter; escapes of code units, which may be half of a pair, are left. */
static bool skip_text(Cursor *c)
{
    if (!take(c, '"'))
        return false;
    for (;;) {
        find_special(c);
        if (take(c, '"'))
            return true;
        if (!take(c, '\\') || c->at == c->end || *c->at == 0 || strchr("\"\\/bfnrt", *c->at) == NULL)
            return false;
        c->at++;
    }
}

typedef struct {
    uint64_t digits;
    int64_t exponent; /* of ten */
    bool is_negative, is_whole, is_exact; /* whether digits holds all of them */
} Number;

static void take_digits(Cursor *c, Number *n, int64_t exponent_each)
{
    for (; c->at < c->end && is_digit(*c->at); c->at++) {
        n->is_exact &= n->digits < UINT64_MAX / 10 - 1;
        n->digits = n->digits * 10 + (uint8_t)(*c->at - '0');
        n->exponent += exponent_each;
    }
}

/* RFC 8259, section 6. */
static bool take_number(Cursor *c, Number *n)
{
    *n = (Number){.is_exact = true, .is_whole = true};
    n->is_negative = take(c, '-');
    const uint8_t *first = c->at;
    take_digits(c, n, 0);
    if (c->at == first || (*first == '0' && c->at - first > 1))
        return false;
    if (take(c, '.')) {
        n->is_whole = false;
        first = c->at;
        take_digits(c, n, -1);
        if (c->at == first)
            return false;
    }
    if (take(c, 'e') || take(c, 'E')) {
        n->is_whole = false;
        bool is_negative = take(c, '-');
        if (!is_negative)
            take(c, '+');
        Number power = {.is_exact = true};
        first = c->at;
        take_digits(c, &power, 0);
        if (c->at == first)
            return false;
        n->is_exact &= power.digits < 1000;
        n->exponent += is_negative ? -(int64_t)(power.digits % 1000) : (int64_t)(power.digits % 1000);
    }
    return true;
}

static bool skip_value(Cursor *c, int depth, bool *is_number);

static bool skip_container(Cursor *c, int depth, uint8_t opening, uint8_t closing)
{
    bool is_number;
    if (depth == DEEPEST || !take_mark(c, opening))
        return false;
    if (take(c, closing))
        return true;
    do {
        if (opening == '{' && !(skip_text(c) && take_mark(c, ':')))
            return false;
        if (!skip_value(c, depth + 1, &is_number))
            return false;
    } while (take_mark(c, ','));
    return take(c, closing);
}

static bool skip_value(Cursor *c, int depth, bool *is_number)
{
    Number number;
    *is_number = false;
    switch (c->at < c->end ? *c->at : '\n') {
    case '"':
        return skip_text(c);
    case '{':
        return skip_container(c, depth, '{', '}');
    case '[':
        return skip_container(c, depth, '[', ']');
    case 't':
        return take_word(c, "true", 4);
    case 'f':
        return take_word(c, "false", 5);
    case 'n':
        return take_word(c, "null", 4);
    default:
        *is_number = true;
        return take_number(c, &number);
    }
}

/* ---- Values ---- */

static double raise_two(int exponent)
{
    uint64_t bits = (uint64_t)(1023 + exponent) << 52; /* IEEE 754: a normal number */
    double power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* The double nearest to digits divided by up to 27 tens, and so by as many fives, which are below 2^63, and twos. */
static double divide(uint64_t digits, int tens)
{
    uint64_t fives = 1;
    for (int i = 0; i < tens; i++)
        fives *= 5;
    int raised = 64 + __builtin_clzll(digits);
    unsigned __int128 dividend = (unsigned __int128)digits << raised, quotient = dividend / fives;
    int bits = 128 - __builtin_clzll((uint64_t)(quotient >> 64));
    int dropped = bits - 55; /* 53 bits are kept, one to round by, and one for all that is less */
    uint64_t kept = (uint64_t)(quotient >> dropped);
    bool is_inexact = (unsigned __int128)kept << dropped != quotient || quotient * fives != dividend;
    kept |= is_inexact;
    bool is_up = (kept & 2) != 0 && (kept & 5) != 0;
    return (double)((kept >> 2) + is_up) * raise_two(dropped + 2 - raised - tens);
}

/* The double nearest to a number of up to 19 digits, of which up to 27 places follow the point; ties go to even.
 *
 * Where digits and power are doubles, one division rounds once (Clinger, "How to read floating point numbers
 * accurately", 1990). Otherwise the quotient is worked out to 64 bits and more, and what remains only breaks ties.
 */
static bool to_double(const Number *n, double *value)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    bool is_small = n->digits <= (uint64_t)1 << 53;
    if (!n->is_exact || n->exponent < -27 || n->exponent > (is_small ? 22 : 0))
        return false;
    if (n->exponent >= 0)
        *value = (double)n->digits * powers[n->exponent];
    else if (is_small && n->exponent >= -22)
        *value = (double)n->digits / powers[-n->exponent];
    else
        *value = n->digits == 0 ? 0 : divide(n->digits, (int)-n->exponent);
    if (n->is_negative && !(n->is_whole && n->digits == 0)) /* -0 is the integer 0, -0.0 is not */
        *value = -*value;
    return true;
}

/* So many digits as one number; -1 where one of them is none. */
static int64_t read_digits(const uint8_t *at, int count)
{
    int64_t number = 0;
    for (int i = 0; i < count; i++) {
        if (!is_digit(at[i]))
            return -1;
        number = number * 10 + (at[i] - '0');
    }
    return number;
}

/* Days since 1970 of a date of the Gregorian calendar; years begin in March, so that leap days end them. */
static int64_t count_days(int64_t year, int64_t month, int64_t day)
{
    int64_t years = month > 2 ? year : year - 1;
    int64_t months = month > 2 ? month - 3 : month + 9;
    return years * 365 + years / 4 - years / 100 + years / 400 + (months * 153 + 2) / 5 + day - 1 - 719468;
}

static bool is_date(int64_t year, int64_t month, int64_t day)
{
    static const int8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1 || month < 1 || month > 12 || day < 1)
        return false;
    bool is_leap_day = month == 2 && day == 29 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return day <= lengths[month - 1] || is_leap_day;
}

/* "YYYY-MM-DDTHH" as microseconds since 1970. */
static bool read_hour(const uint8_t *at, Memory *memory)
{
    if (memory->hour != NULL && memcmp(at, memory->hour, 13) == 0)
        return true;
    int64_t year = read_digits(at, 4), month = read_digits(at + 5, 2), day = read_digits(at + 8, 2);
    int64_t hour = read_digits(at + 11, 2);
    if (at[4] != '-' || at[7] != '-' || at[10] != 'T' || !is_date(year, month, day) || hour < 0 || hour > 23)
        return false;
    memory->hour = at;
    memory->hour_start = (count_days(year, month, day) * 24 + hour) * 60 * MICROSECONDS_PER_MINUTE;
    return true;
}

/* What follows the seconds: "Z", or an offset from UTC as in +05, +0530 or -03:00; in minutes. */
static bool read_zone(const uint8_t *at, int64_t length, int64_t *east)
{
    *east = 0;
    if (length == 1)
        return *at == 'Z';
    bool has_colon = length == 6 && at[3] == ':';
    if ((*at != '+' && *at != '-') || !(length == 3 || length == 5 || has_colon))
        return false;
    int64_t hours = read_digits(at + 1, 2), minutes = length == 3 ? 0 : read_digits(at + length - 2, 2);
    *east = (*at == '-' ? -1 : 1) * (hours * 60 + minutes);
    return hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60;
}

/* A timestamp as microseconds since 1970; digits beyond the sixth of a second are cut off. */
static bool read_time(Text text, Memory *memory, int64_t *time)
{
    const uint8_t *at = text.start, *end = text.start + text.length;
    if (text.length < 20 || !read_hour(at, memory))
        return false;
    int64_t minute = read_digits(at + 14, 2), second = read_digits(at + 17, 2);
    if (at[13] != ':' || at[16] != ':' || minute < 0 || minute > 59 || second < 0 || second > 59)
        return false;
    at += 19;
    int64_t fraction = 0, unit = 1000000;
    if (*at == '.') {
        const uint8_t *first = ++at;
        for (; at < end && is_digit(*at); at++) {
            unit /= 10;
            fraction += (*at - '0') * unit;
        }
        if (at == first || at - first > 9)
            return false;
    }
    int64_t east;
    if (at == end || !read_zone(at, end - at, &east))
        return false;
    *time = memory->hour_start + (minute - east) * MICROSECONDS_PER_MINUTE + second * 1000000 + fraction;
    return *time >= -62135596800000000; /* year 1 */
}

/* ---- Lines ---- */

typedef struct {
    Text machine_id;
    int64_t time;
    bool has_time, has_code;
    int64_t readings, unknown_numbers;
} Line;

static bool take_field(Cursor *c, uint64_t first, const Field *field)
{
    bool is_it = (first & field->first_mask) == field->first && c->end - c->at >= field->name.length &&
                 has_bytes(c->at, field->name);
    c->at += is_it ? field->name.length : 0;
    return is_it;
}

/* The name of the line's field of this number; NULL where it is none. */
static const Field *take_name(const Decoder *d, Cursor *c, int number, Memory *memory, Text *name)
{
    const Field **expected = &memory->expected[number % EXPECTED];
    uint64_t first = load(c->at, c->end);
    if (*expected != NULL && take_field(c, first, *expected))
        return *expected;
    for (int64_t i = 0; i < d->field_count; i++)
        if (take_field(c, first, &d->fields[i]))
            return *expected = &d->fields[i];
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
        return !is_again && take_text(c, &text) && read_time(text, memory, &line->time);
    case FAILURE_CODE:
        is_again = line->has_code;
        line->has_code = true;
        return !is_again && take_word(c, "null", 4);
    default:
        return take_reading(d, c, field, line);
    }
}

static bool take_members(const Decoder *d, Cursor *c, Line *line, Memory *memory)
{
    int number = 0;
    do {
        Text name = {0};
        const Field *field = take_name(d, c, number++, memory, &name);
        if (field == NULL || !take_mark(c, ':') || !take_value(d, c, field, name, line, memory))
            return false;
    } while (take_mark(c, ','));
    return take_mark(c, '}');
}

static bool take_line(const Decoder *d, Cursor *c, Line *line, Memory *memory)
{
    const uint8_t *start = c->at;
    *line = (Line){0};
    c->seen = 0;
    forget_names(&memory->unknown);
    for (int64_t i = 0; i < d->reading_count; i++)
        d->readings[i * d->row_capacity + d->row_count] = NOT_THERE;
    return take_mark(c, '{') && take_members(d, c, line, memory) && (c->at == c->end || *c->at == '\n') &&
           line->machine_id.length > 0 && line->machine_id.length <= LONGEST_MACHINE_ID && line->has_time &&
           line->time <= d->latest && line->readings > 0 && ((c->seen & HIGH_BITS) == 0 || is_utf8(start, c->at));
}

/* Where a machine is, or belongs: slots hold numbers and one, 0 where they are free, and are never all taken. */
static int32_t *find_slot(const Decoder *d, Text id)
{
    uint64_t slot = hash(id) & (uint64_t)d->slot_mask;
    while (d->slots[slot] != 0 && !is_equal(id, d->machine_ids[d->slots[slot] - 1]))
        slot = (slot + 1) & (uint64_t)d->slot_mask;
    return &d->slots[slot];
}

/* Use twice as many slots: few are used for few machines, so that they stay in the processor's cache. */
static void widen_slots(Decoder *d)
{
    memset(d->slots, 0, (size_t)(d->slot_mask + 1) * sizeof *d->slots);
    d->slot_mask = 2 * d->slot_mask + 1;
    for (int32_t machine = 0; machine < d->machine_count; machine++)
        *find_slot(d, d->machine_ids[machine]) = machine + 1;
}

static int32_t number_machine(Decoder *d, Text id, int32_t last)
{
    if (d->machine_count > 0 && is_equal(id, d->machine_ids[last]))
        return last;
    int32_t *slot = find_slot(d, id);
    if (*slot != 0)
        return *slot - 1;
    d->machine_ids[d->machine_count++] = id;
    *slot = (int32_t)d->machine_count;
    if (2 * d->machine_count > d->slot_mask)
        widen_slots(d);
    return (int32_t)d->machine_count - 1;
}

static void leave(Decoder *d, const uint8_t *start, const uint8_t *end)
{
    d->left[d->left_count++] = (Left){.text = {start, end - start}, .object = d->object, .number = d->number};
}

/* Go on until all objects are decoded, or there is no room for another line that is left: then true. */
bool decode_lines(Decoder *d)
{
    Memory memory = {0};
    Line line;
    for (; d->object < d->object_count; d->object++, d->offset = d->number = 0) {
        const uint8_t *first = d->objects[d->object].start, *end = first + d->objects[d->object].length;
        Cursor c = {.at = first + d->offset, .end = end};
        while (c.at < end) {
            const uint8_t *start = c.at;
            d->number++;
            skip_blanks(&c);
            if (take(&c, '\n') || c.at == end)
                continue;
            if (d->row_count < d->row_capacity && take_line(d, &c, &line, &memory)) {
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
            if (d->left_count == d->left_capacity) {
                d->offset = c.at - first;
                return true;
            }
        }
    }
    return false;
}
