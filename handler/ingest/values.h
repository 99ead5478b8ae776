/* What numbers and timestamps come to. */
#ifndef HANDLER_VALUES_H
#define HANDLER_VALUES_H

#include "json.h"

enum { MINUTE = 17 }; /* the length of "YYYY-MM-DDTHH:MM:" */

static const int64_t MICROSECONDS_PER_MINUTE = 60000000;

/* The minute that was read last, mostly that of the next timestamp too. */
typedef struct {
    const uint8_t *text; /* it must stay where it is; NULL if there is no table */
    int64_t start; /* in microseconds since 1970 */
} Minute;

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

/* The given count of digits as one number; -1 where a character is not a digit. */
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

/* "YYYY-MM-DDTHH:MM:" as microseconds since 1970. */
static bool read_minute(const uint8_t *at, Minute *last)
{
    if (last->text != NULL && has_bytes(at, (Text){last->text, MINUTE}))
        return true;
    int64_t year = read_digits(at, 4), month = read_digits(at + 5, 2), day = read_digits(at + 8, 2);
    int64_t hour = read_digits(at + 11, 2), minute = read_digits(at + 14, 2);
    if (at[4] != '-' || at[7] != '-' || strchr("Tt ", at[10]) == NULL || at[13] != ':' || at[16] != ':')
        return false;
    if (!is_date(year, month, day) || hour < 0 || hour > 23 || minute < 0 || minute > 59)
        return false;
    last->text = at;
    last->start = ((count_days(year, month, day) * 24 + hour) * 60 + minute) * MICROSECONDS_PER_MINUTE;
    return true;
}

/* What follows the seconds: "Z" or "z", or an offset from UTC as in +05, +0530 or -03:00; in minutes. */
static bool read_zone(const uint8_t *at, int64_t length, int64_t *east)
{
    *east = 0;
    if (length == 1)
        return *at == 'Z' || *at == 'z';
    bool has_colon = length == 6 && at[3] == ':';
    if ((*at != '+' && *at != '-') || !(length == 3 || length == 5 || has_colon))
        return false;
    int64_t hours = read_digits(at + 1, 2), minutes = length == 3 ? 0 : read_digits(at + length - 2, 2);
    *east = (*at == '-' ? -1 : 1) * (hours * 60 + minutes);
    return hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60;
}

/* A timestamp as microseconds since 1970; digits beyond the sixth of a second are cut off. */
static bool read_time(Text text, Minute *last, int64_t *time)
{
    static const int64_t units[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
    const uint8_t *at = text.start, *end = text.start + text.length;
    if (text.length < 20 || !read_minute(at, last))
        return false;
    int64_t second = read_digits(at + MINUTE, 2), fraction = 0, east = 0;
    if (second < 0 || second > 59)
        return false;
    at += MINUTE + 2;
    if (*at == '.' || *at == ',') {
        const uint8_t *first = ++at;
        for (; at < end && at - first < 6 && is_digit(*at); at++)
            fraction = fraction * 10 + (*at - '0');
        fraction *= units[at - first];
        while (at < end && is_digit(*at))
            at++;
        if (at == first || at - first > 9)
            return false;
    }
    if (at == end || (!(end - at == 1 && *at == 'Z') && !read_zone(at, end - at, &east)))
        return false;
    *time = last->start + second * 1000000 + fraction - east * MICROSECONDS_PER_MINUTE;
    return *time >= 0 && *time < 253402300800000000; /* the years 1970 to 9999 */
}

#endif
