// What is counted for a circuit is one value in the host's shared data, replaced as a whole by compare-and-swap:
// whatever workers do at the same time, each request is counted once, and one of them opens the circuit. The window
// slides in steps of a tenth of its length.
//
// Workers tell at once of slow requests and of errors. Of the others, which open no circuit but have to be known where
// shares and averages matter, they tell when they have seen a thousandth of what is in the window: else they would
// spend their time with waiting for each other.
//
// Until when it is open is another value, and so is until when any is: that is all that most requests look at. These
// are empty, or not there, while nothing is open, and then cost little: the host asks this module for no memory.

#include "circuit.h"

#include "host.h"
#include "memory.h"

enum { BUCKETS = 10, BATCH = 1000, LISTS = 256 };
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

static const char any[] = "any";    // until when some circuit is open

static uint32_t load_time(const char *key, size_t size, int64_t *time) {
    int64_t *value = NULL;
    size_t value_size = 0;
    uint32_t cas = NOT_THERE;
    proxy_get_shared_data(key, size, (char **)&value, &value_size, &cas);
    *time = value_size == sizeof *value ? *value : 0;
    free(value);
    return cas;
}

static status_t store_time(const char *key, size_t size, int64_t time, uint32_t cas) {
    return proxy_set_shared_data(key, size, (const char *)&time, time ? sizeof time : 0, cas);
}

static bool is_before(const char *key, size_t size, int64_t at) {
    int64_t time;
    uint32_t cas = load_time(key, size, &time);
    if (time && at >= time) store_time(key, size, 0, cas);
    return at < time;
}

bool is_any_open(int64_t at) { return is_before(any, sizeof any - 1, at); }

bool is_open(const policy_t *policy, int64_t at) { return is_before(policy->opening, policy->opening_size, at); }

static void open(const policy_t *policy, int64_t closes) {
    int64_t last;
    uint32_t cas;
    store_time(policy->opening, policy->opening_size, closes, WHATEVER);
    do {
        cas = load_time(any, sizeof any - 1, &last);
    } while (last < closes && store_time(any, sizeof any - 1, closes, cas) == CAS_MISMATCH);
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

static void add(bucket_t *to, const bucket_t *bucket) {
    to->requests += bucket->requests;
    to->time += bucket->time;
    to->slow += bucket->slow;
    to->errors += bucket->errors;
    to->gateway_errors += bucket->gateway_errors;
}

static int64_t step(const policy_t *policy) { return policy->window / BUCKETS; }

static void add_now(counts_t *counts, const policy_t *policy, const bucket_t *bucket, int64_t at) {
    bucket_t *to = &counts->buckets[at / step(policy) % BUCKETS];
    int64_t began = at - at % step(policy);
    if (to->began != began) *to = (bucket_t){.began = began};
    add(to, bucket);
}

static bucket_t sum(const counts_t *counts, const policy_t *policy, int64_t at) {
    bucket_t total = {0};
    for (int i = 0; i < BUCKETS; i++) {
        if (counts->buckets[i].began > at - policy->window) add(&total, &counts->buckets[i]);
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

// --- What this worker has not told yet --------------------------------------------------------------------------------

typedef struct worker {
    struct worker *next;
    bucket_t untold;        // began when the first of its requests did
    int64_t told;           // when
    uint32_t batch;         // of so many it tells
    size_t circuit_size;
    char circuit[];
} worker_t;

static worker_t *lists[LISTS];

static uint32_t hash(const char *text, size_t size) {   // FNV-1a
    uint32_t found = 2166136261u;
    for (size_t i = 0; i < size; i++) found = (found ^ (uint8_t)text[i]) * 16777619u;
    return found;
}

static worker_t *worker_of(const policy_t *policy) {
    worker_t **list = &lists[hash(policy->circuit, policy->circuit_size) % LISTS];
    for (worker_t *found = *list; found; found = found->next) {
        if (is_same(found->circuit, found->circuit_size, policy->circuit, policy->circuit_size)) return found;
    }
    worker_t *made = malloc(sizeof *made + policy->circuit_size);
    *made = (worker_t){.next = *list, .circuit_size = policy->circuit_size};
    __builtin_memcpy(made->circuit, policy->circuit, policy->circuit_size);
    return *list = made;
}

static bucket_t only(const policy_t *policy, request_t request) {
    int64_t took = request.ended - request.began;
    return (bucket_t){
        .began = request.began,
        .time = took,
        .requests = 1,
        .slow = policy->slow_requests && took > policy->slow_time,
        .errors = request.status >= 500,
        .gateway_errors = request.status >= 502 && request.status <= 504,
    };
}

static bool tell(worker_t *worker, const policy_t *policy, request_t request) {
    counts_t counts;
    bucket_t total;
    bool opens;
    uint32_t cas;
    do {
        cas = load(&counts, policy);
        // What began before the circuit closed belongs to what was forgotten when it did.
        if (worker->untold.began < counts.closes) worker->untold = only(policy, request);
        if (request.began < counts.closes) {
            worker->untold = (bucket_t){0};
            return false;
        }
        add_now(&counts, policy, &worker->untold, request.ended);
        total = sum(&counts, policy, request.ended);
        opens = is_too_much(&total, policy);
        if (opens) counts = (counts_t){.closes = request.ended + policy->break_time};
    } while (store(&counts, policy, cas) == CAS_MISMATCH);
    worker->untold = (bucket_t){0};
    worker->told = request.ended;
    worker->batch = total.requests / BATCH;
    if (opens) open(policy, counts.closes);
    return opens;
}

bool count(const policy_t *policy, request_t request) {
    bucket_t found = only(policy, request);
    bool is_bad = found.slow || found.errors;
    if (!is_bad && !policy->average_time && !watches_errors(policy)) return false;
    worker_t *worker = worker_of(policy);
    if (request.ended - worker->told >= policy->window) worker->untold = (bucket_t){0};   // as the window forgets
    if (!worker->untold.requests) worker->untold.began = found.began;
    add(&worker->untold, &found);
    bool is_due = worker->untold.requests >= worker->batch || request.ended - worker->told >= step(policy);
    return is_bad || is_due ? tell(worker, policy, request) : false;
}
