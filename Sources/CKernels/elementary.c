// Elementary functions of our own: a C library's differ from version to version and from processor to processor.
// Series are plain Taylor series, long enough that rounding is all that is left; fma (correctly rounded everywhere)
// gives the rounding errors of products.
#include "strict_floats.h"

#include "hyperbolic.h"

float lamina_expf(float x) {
    return lamina_exp_f32(x);
}

float lamina_tanhf(float x) {
    return lamina_tanh_f32(x);
}

float lamina_erff(float x) {
    return lamina_erf_f32(x);
}

float lamina_sigmoidf(float x) {
    return lamina_sigmoid_f32(x);
}

// An unevaluated sum; |low| is at most half an ulp of high.
typedef struct double_double {
    double high;
    double low;
} double_double;

// Exact sum of two doubles of any magnitudes.
static double_double exact_sum(double a, double b) {
    const double high = a + b;
    const double part = high - a;
    return (double_double){high, (a - (high - part)) + (b - part)};
}

static double_double exact_product(double a, double b) {
    const double high = a * b;
    return (double_double){high, fma(a, b, -high)};
}

static double_double product(double_double a, double_double b) {
    const double_double high = exact_product(a.high, b.high);
    return exact_sum(high.high, high.low + (a.high * b.low + a.low * b.high));
}

static double_double sum(double_double a, double_double b) {
    const double_double high = exact_sum(a.high, b.high);
    return exact_sum(high.high, high.low + (a.low + b.low));
}

// The nearest integer, for |x| < 2^51, without depending on the rounding of a conversion.
static double nearest_integer(double x) {
    const double integer_shift = 0x1.8p52;
    return (x + integer_shift) - integer_shift;
}

// ---- sine and cosine --------------------------------------------------------------------------------------------

// x - n * pi/2 in two parts. pi/2 has 159 bits here, which leaves 60 good ones for the worst |x| < 2^31.
static double_double reduce_quarter_turns(double x, double n) {
    const double pi_half_1 = 0x1.921fb54442d18p0;
    const double pi_half_2 = 0x1.1a62633145c07p-54;
    const double pi_half_3 = -0x1.f1976b7ed8fbcp-110;
    // Exact: both are multiples of 2^-52 (or x < 1 and n = 1) and the difference is below 1.
    const double first = fma(-n, pi_half_1, x);
    const double_double second = exact_product(n, pi_half_2);
    const double_double rest = exact_sum(first, -second.high);
    return exact_sum(rest.high, rest.low - second.low - n * pi_half_3);
}

static double sine_of_small(double_double x) {
    const double z = x.high * x.high;
    double p = 1.0 / 355687428096000;  // 1/17!
    p = p * z - 1.0 / 1307674368000;
    p = p * z + 1.0 / 6227020800;
    p = p * z - 1.0 / 39916800;
    p = p * z + 1.0 / 362880;
    p = p * z - 1.0 / 5040;
    p = p * z + 1.0 / 120;
    p = p * z - 1.0 / 6;
    // sin(high + low) = sin(high) + low cos(high)
    return x.high + (p * z * x.high + x.low * (1 - 0.5 * z));
}

static double cosine_of_small(double_double x) {
    const double z = x.high * x.high;
    double p = -1.0 / 6402373705728000;  // 1/18!
    p = p * z + 1.0 / 20922789888000;
    p = p * z - 1.0 / 87178291200;
    p = p * z + 1.0 / 479001600;
    p = p * z - 1.0 / 3628800;
    p = p * z + 1.0 / 40320;
    p = p * z - 1.0 / 720;
    p = p * z + 1.0 / 24;
    const double half = 0.5 * z;
    const double rounded = 1 - half;
    // What 1 - z/2 rounded away, then the series, then cos(high + low) = cos(high) - low sin(high).
    return rounded + (((1 - rounded) - half) + (p * z * z - x.high * x.low));
}

// sin(x + quarter_turns * pi/2)
static double sine_from_quarter(double x, unsigned quarter_turns) {
    const double n = nearest_integer(x * 0x1.45f306dc9c883p-1);
    const double_double rest = reduce_quarter_turns(x, n);
    const unsigned quarter = ((unsigned)(int64_t)n + quarter_turns) & 3;
    const double magnitude = quarter % 2 == 0 ? sine_of_small(rest) : cosine_of_small(rest);
    return quarter < 2 ? magnitude : -magnitude;
}

double lamina_sin(double x) {
    const bool tiny = fabs(x) < 0x1p-27;  // sin(x) = x, and -0 stays
    return tiny ? x : fabs(x) < 0x1p31 ? sine_from_quarter(x, 0) : (double)NAN;
}

double lamina_cos(double x) {
    return fabs(x) < 0x1p31 ? sine_from_quarter(x, 1) : (double)NAN;
}

// ---- exponential and logarithm ----------------------------------------------------------------------------------

static double power_of_two(int exponent) {
    const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static const double_double ln_2 = {0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56};

// exp(high + low); |high| <= 800, |low| far below 1.
static double exponential(double_double x) {
    const double n = nearest_integer(x.high * 0x1.71547652b82fep0);
    // fma leaves the exact difference: it is a multiple of ln_2.high's last bit, and small.
    const double r = fma(-n, ln_2.high, x.high);
    const double correction = x.low - n * ln_2.low;
    double p = 1.0 / 6227020800;  // 1/13!; |r| <= ln(2) / 2
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    const double series = p * r * r;
    // exp(r + correction) = exp(r) + correction exp(r)
    const double tail = series + correction * (1 + (r + series));
    const double_double one_plus_r = exact_sum(1, r);
    const double value = one_plus_r.high + (one_plus_r.low + tail);
    // Two factors, so that results near the ends of the range round once.
    const int exponent = (int)n;
    const int half = exponent / 2;
    return value * power_of_two(half) * power_of_two(exponent - half);
}

static double exponential_of_any(double_double x) {
    if (isnan(x.high)) {
        return x.high;
    }
    if (x.high > 710) {
        return INFINITY;
    }
    return x.high < -746 ? 0 : exponential(x);
}

double lamina_exp(double x) {
    return exponential_of_any((double_double){x, 0});
}

// log(x) for finite x > 0: x = 2^e m with m in [sqrt(1/2), sqrt(2)), log m = 2 atanh(s), s = (m - 1) / (m + 1).
static double_double logarithm(double x) {
    int exponent;
    double m = frexp(x, &exponent);
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2;
        exponent -= 1;
    }
    const double_double denominator = exact_sum(m, 1);
    const double numerator = m - 1;  // exact
    const double quotient = numerator / denominator.high;
    const double remainder = fma(-quotient, denominator.high, numerator) - quotient * denominator.low;
    const double_double s = {quotient, remainder / denominator.high};
    const double_double z = product(s, s);
    // atanh(s) / s = 1 + z (1/3 + z (1/5 + z (1/7 + ...))); only what is big enough to matter has two parts.
    double p = 1.0 / 25;
    for (int k = 23; k >= 5; k -= 2) {
        p = p * z.high + 1.0 / k;
    }
    const double_double third = {0x1.5555555555555p-2, 0x1.5555555555555p-56};
    const double_double inner = sum(third, exact_product(z.high, p));
    const double_double atanh_rest = product(product(s, z), inner);
    const double_double atanh = sum(s, atanh_rest);
    const double_double twice = {2 * atanh.high, 2 * atanh.low};
    return sum(product((double_double){exponent, 0}, ln_2), twice);
}

// log for any argument: the exact limits, NaN below zero.
static double_double logarithm_of_any(double x) {
    if (x > 0 && x < INFINITY) {
        return logarithm(x);
    }
    const double limit = x == 0 ? -INFINITY : x > 0 ? INFINITY : NAN;
    return (double_double){limit, 0};
}

double lamina_log(double x) {
    return logarithm_of_any(x).high;
}

double lamina_pow(double base, double exponent) {
    if (exponent == 0 || base == 1) {
        return 1;
    }
    const double_double log_base = logarithm_of_any(base);
    const double estimate = log_base.high * exponent;
    if (!(fabs(estimate) < 800)) {
        return exponential_of_any((double_double){estimate, 0});
    }
    return exponential_of_any(product(log_base, (double_double){exponent, 0}));
}
