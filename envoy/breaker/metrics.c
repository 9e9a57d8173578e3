// The host gives a new number to a counter whenever it is defined, and keeps all of them: so each worker defines those
// of an object once, when there is something to count.

#include "metrics.h"

#include "host.h"
#include "memory.h"

static const char prefix[] = "fairlead.breaker.";
static const char opened[] = ".opened", rejected[] = ".rejected";

typedef struct counters {
    struct counters *next;
    uint32_t opened, rejected;
    size_t size;
    char object[];
} counters_t;

static counters_t *all;

// The name of a circuit begins with that of its object.
static size_t object_size(const policy_t *policy) {
    size_t size = 0;
    while (size < policy->circuit_size && policy->circuit[size] != '|') size++;
    return size;
}

static uint32_t define(const counters_t *of, const char *suffix, size_t suffix_size) {
    size_t size = sizeof prefix - 1 + of->size + suffix_size;
    uint32_t metric = 0;
    char *name = malloc(size);
    __builtin_memcpy(name, prefix, sizeof prefix - 1);
    __builtin_memcpy(name + sizeof prefix - 1, of->object, of->size);
    __builtin_memcpy(name + size - suffix_size, suffix, suffix_size);
    proxy_define_metric(COUNTER, name, size, &metric);
    free(name);
    return metric;
}

static counters_t *counters_of(const policy_t *policy) {
    size_t size = object_size(policy);
    for (counters_t *found = all; found; found = found->next) {
        if (is_same(found->object, found->size, policy->circuit, size)) return found;
    }
    counters_t *made = malloc(sizeof *made + size);
    made->size = size;
    __builtin_memcpy(made->object, policy->circuit, size);
    made->opened = define(made, opened, sizeof opened - 1);
    made->rejected = define(made, rejected, sizeof rejected - 1);
    made->next = all;
    return all = made;
}

void note_opening(const policy_t *policy) { proxy_increment_metric(counters_of(policy)->opened, 1); }

void note_rejection(const policy_t *policy) { proxy_increment_metric(counters_of(policy)->rejected, 1); }
