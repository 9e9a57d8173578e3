// What is counted for a circuit is one value in the host's shared data, replaced as a whole by compare-and-swap:
// whatever workers do at the same time, each request is counted once, and one of them opens the circuit. The window
// slides in steps of a tenth of its length.
//
// Until when it is open is another value, which is empty or not there while it is closed. That is all that most
// requests look at, and it costs little: for an empty value the host asks this module for no memory.

#include "circuit.h"

#include "host.h"
#include "memory.h"

enum { BUCKETS = 10 };
static const uint32_t NOT_THERE = UINT32_MAX;   // no value is told with it, so that it sets only what is not there yet
static const uint32_t WHATEVER = 0;             // sets the value, whoever has set it last

typedef struct {
    int64_t began;
    int64_t time;       // that all its requests took together
    uint32_t requests, slow, errors, gateway_errors;
} bucket_t;

typedef struct {
    int64_t closes;     // when it does, or did last; 0 if it has never been open
    bucket_t buckets[BUCKETS];
} counts_t;

int64_t now(void) {
    uint64_t nanoseconds = 0;
    clock_time_get(CLOCK_MONOTONIC, 1, &nanoseconds);
    return (int64_t)nanoseconds;
}

// --- Until when it is open --------------------------------------------------------------------------------------------

bool is_open(const policy_t *policy, int64_t at) {
    int64_t *closes = NULL;
    size_t size = 0;
    uint32_t cas = 0;
    proxy_get_shared_data(policy->opening, policy->opening_size, (char **)&closes, &size, &cas);
    if (size != sizeof *closes) return false;
    bool open = at < *closes;
    free(closes);
    if (!open) proxy_set_shared_data(policy->opening, policy->opening_size, NULL, 0, cas);
    return open;
}

static void open(const policy_t *policy, int64_t closes) {
    const char *value = (const char *)&closes;
    proxy_set_shared_data(policy->opening, policy->opening_size, value, sizeof closes, WHATEVER);
}

// --- What is counted --------------------------------------------------------------------------------------------------

// The counts as they are now, or new ones; returns what tells whether they are still the same.
static uint32_t load(counts_t *counts, const policy_t *policy) {
    char *value = NULL;
    size_t size = 0;
    uint32_t cas = NOT_THERE;
    proxy_get_shared_data(policy->circuit, policy->circuit_size, &value, &size, &cas);
    if (size == sizeof *counts) {
        __builtin_memcpy(counts, value, size);
    } else {
        *counts = (counts_t){0};
    }
    free(value);
    return cas;
}

static status_t store(const counts_t *counts, const policy_t *policy, uint32_t cas) {
    return proxy_set_shared_data(policy->circuit, policy->circuit_size, (const char *)counts, sizeof *counts, cas);
}

static void add(counts_t *counts, const policy_t *policy, request_t request) {
    int64_t length = policy->window / BUCKETS;
    bucket_t *bucket = &counts->buckets[request.ended / length % BUCKETS];
    int64_t began = request.ended - request.ended % length;
    if (bucket->began != began) *bucket = (bucket_t){.began = began};
    int64_t took = request.ended - request.began;
    bucket->requests++;
    bucket->time += took;
    bucket->slow += took > policy->slow_time;
    bucket->errors += request.status >= 500;
    bucket->gateway_errors += request.status >= 502 && request.status <= 504;
}

static bucket_t sum(const counts_t *counts, const policy_t *policy, int64_t at) {
    bucket_t total = {0};
    for (int i = 0; i < BUCKETS; i++) {
        const bucket_t *bucket = &counts->buckets[i];
        if (bucket->began <= at - policy->window) continue;
        total.requests += bucket->requests;
        total.time += bucket->time;
        total.slow += bucket->slow;
        total.errors += bucket->errors;
        total.gateway_errors += bucket->gateway_errors;
    }
    return total;
}

static bool reaches(int64_t part, int64_t whole, int64_t percent) {
    return percent && part * 100 >= whole * percent;
}

static bool is_too_much(const bucket_t *total, const policy_t *policy) {
    if (policy->slow_requests && total->slow >= policy->slow_requests) return true;
    if (total->requests < policy->least_requests) return false;
    if (policy->average_time && total->time / total->requests > policy->average_time) return true;
    return reaches(total->errors, total->requests, policy->error_percent) ||
           reaches(total->gateway_errors, total->requests, policy->gateway_error_percent);
}

// Whether the request can make a difference: where only slow ones are watched for, the others need not be counted.
static bool matters(const policy_t *policy, request_t request) {
    bool slow = request.ended - request.began > policy->slow_time;
    return (policy->slow_requests && slow) || policy->average_time || watches_errors(policy);
}

bool count(const policy_t *policy, request_t request) {
    counts_t counts;
    bool opens;
    uint32_t cas;
    if (!matters(policy, request)) return false;
    do {
        cas = load(&counts, policy);
        // What began before the circuit closed belongs to what was forgotten when it did.
        if (request.began < counts.closes) return false;
        add(&counts, policy, request);
        bucket_t total = sum(&counts, policy, request.ended);
        opens = is_too_much(&total, policy);
        if (opens) counts = (counts_t){.closes = request.ended + policy->break_time};
    } while (store(&counts, policy, cas) == CAS_MISMATCH);
    if (opens) open(policy, counts.closes);
    return opens;
}
