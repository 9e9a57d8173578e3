// A circuit breaker as a filter of Envoy: counts how requests of a route end, and answers in place of the service while
// too many of them have ended badly. It is part of the proxy's configuration, so that it works without Fairlead.
//
// A request is counted when the response begins, and not at its end: otherwise clients that read slowly, or streams
// that are meant to last, would look like a slow service. One without a response is counted when the client gives up,
// if the service has had all of it: else anybody could make it look slow, with a body that does not come.
//
// To ask the host what a route says takes most of the time. It is not asked as long as nothing is open, nor about
// requests that were quick, if quick ones make no difference to any breaker of the proxy.

#include <stdbool.h>
#include <stdint.h>

#include "circuit.h"
#include "host.h"
#include "memory.h"
#include "metrics.h"
#include "policy.h"

static int64_t quick;       // requests that take no longer make no difference; 0 if all do

// --- Requests that wait for their response ----------------------------------------------------------------------------

typedef struct waiting {
    uint32_t context;       // the host's number of the request
    struct waiting *next;
    int64_t began;
    bool is_whole;          // the client has sent all of it
} waiting_t;

enum { LISTS = 1024, REQUEST_TIMEOUT = 408 };
static waiting_t *lists[LISTS];

static waiting_t **place_of(uint32_t context) {
    waiting_t **place = &lists[context % LISTS];
    while (*place && (*place)->context != context) place = &(*place)->next;
    return place;
}

static void wait(uint32_t context, int64_t began, bool is_whole) {
    waiting_t *request = malloc(sizeof *request);
    waiting_t **place = place_of(context);
    *request = (waiting_t){context, *place, began, is_whole};
    *place = request;
}

// Wait no longer; false when the request did not.
static bool take(uint32_t context, waiting_t *taken) {
    waiting_t **place = place_of(context);
    waiting_t *request = *place;
    if (!request) return false;
    *taken = *request;
    *place = request->next;
    free(request);
    return true;
}

static int response_status(void) {
    char *text = NULL;
    size_t size = 0;
    int status = 0;
    if (proxy_get_header_map_value(RESPONSE_HEADERS, ":status", 7, &text, &size) != OK) return 0;
    for (size_t i = 0; i < size; i++) status = status * 10 + (text[i] - '0');
    free(text);
    return status;
}

static void end(uint32_t context, bool is_answered) {
    policy_t policy;
    waiting_t waiting;
    if (!take(context, &waiting)) return;
    // Nobody waits any longer for the rest of it: neither the client nor the proxy.
    if (!waiting.is_whole && (!is_answered || response_status() == REQUEST_TIMEOUT)) return;
    request_t request = {.began = waiting.began, .ended = now()};
    if (quick && request.ended - request.began <= quick) return;
    if (!read_policy(&policy)) return;
    if (is_answered && watches_errors(&policy)) request.status = response_status();
    if (count(&policy, request)) note_opening(&policy);
    release_policy(&policy);
}

// --- What the host calls ----------------------------------------------------------------------------------------------

EXPORT void proxy_abi_version_0_2_1(void) {}

EXPORT int proxy_on_configure(uint32_t context, size_t configuration_size) {
    char *text = NULL;
    size_t size = 0;
    proxy_get_buffer_bytes(CONFIGURATION, 0, configuration_size, &text, &size);
    char *at = text;
    quick = read_number(&at, text + size);
    free(text);
    return true;
}

EXPORT int proxy_on_request_headers(uint32_t context, uint32_t headers, uint32_t is_whole) {
    policy_t policy;
    int64_t began = now();
    if (is_any_open(began) && read_policy(&policy)) {
        bool rejected = is_open(&policy, began);
        if (rejected) note_rejection(&policy);
        release_policy(&policy);
        if (rejected) {
            answer();
            return PAUSE;
        }
    }
    wait(context, began, is_whole);
    return CONTINUE;
}

// A client that takes its time to send a body does not make the service slow: its time begins with the last part.
static void note_part(uint32_t context, bool is_last) {
    waiting_t *request = *place_of(context);
    if (!request) return;
    request->began = now();
    request->is_whole = is_last;
}

EXPORT int proxy_on_request_body(uint32_t context, uint32_t size, uint32_t is_whole) {
    note_part(context, is_whole);
    return CONTINUE;
}

EXPORT int proxy_on_request_trailers(uint32_t context, uint32_t trailers) {
    note_part(context, true);
    return CONTINUE;
}

EXPORT int proxy_on_response_headers(uint32_t context, uint32_t headers, uint32_t is_whole) {
    end(context, true);
    return CONTINUE;
}

EXPORT void proxy_on_delete(uint32_t context) { end(context, false); }
