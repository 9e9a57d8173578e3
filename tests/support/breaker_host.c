// What Envoy offers to the breaker's circuits, for tests without Envoy. Each library that is loaded is a worker; `share`
// lets them see the same data.

#include <stdlib.h>
#include <string.h>

#include "../../envoy/breaker/circuit.c"

typedef struct {
    char key[64], value[4096];
    size_t key_size, size;
    uint32_t cas;
} entry_t;

static entry_t own[64], *entries = own;
static int64_t time_now;

entry_t *shared(void) { return entries; }
void share(entry_t *others) { entries = others; }
void set_time(int64_t nanoseconds) { time_now = nanoseconds; }

bool is_same(const char *one, size_t one_size, const char *other, size_t other_size) {
    return one_size == other_size && !memcmp(one, other, one_size);
}

uint16_t clock_time_get(uint32_t clock, uint64_t precision, uint64_t *nanoseconds) {
    *nanoseconds = (uint64_t)time_now;
    return 0;
}

static entry_t *entry_of(const char *key, size_t key_size) {
    entry_t *entry = entries;
    while (entry->key_size && !is_same(entry->key, entry->key_size, key, key_size)) entry++;
    return entry;
}

status_t proxy_get_shared_data(const char *key, size_t key_size, char **value, size_t *value_size, uint32_t *cas) {
    entry_t *entry = entry_of(key, key_size);
    if (!entry->key_size) return 1;
    *cas = entry->cas;
    *value_size = entry->size;
    if (entry->size) *value = memcpy(malloc(entry->size), entry->value, entry->size);
    return OK;
}

status_t proxy_set_shared_data(const char *key, size_t key_size, const char *value, size_t value_size, uint32_t cas) {
    entry_t *entry = entry_of(key, key_size);
    if (entry->key_size && cas && cas != entry->cas) return CAS_MISMATCH;
    memcpy(entry->key, key, entry->key_size = key_size);
    if (value_size) memcpy(entry->value, value, value_size);
    entry->size = value_size;
    entry->cas++;
    return OK;
}

bool watches_errors(const policy_t *policy) { return policy->error_percent || policy->gateway_error_percent; }
