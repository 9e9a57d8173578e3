// The route's metadata `fairlead.breaker` have two fields. `policy` is the numbers of `policy_t` in order, each with a
// space behind it, and the name of the circuit. `answer` is the status, and then, each on a line, headers as
// `name: value`; what follows an empty line is the body.

#include "policy.h"

#include "host.h"
#include "memory.h"

#define METADATA "xds\0route_metadata\0filter_metadata\0fairlead.breaker\0"
static const char policy_path[] = METADATA "policy";
static const char answer_path[] = METADATA "answer";
static const char details[] = "asm_circuit_open";   // in access logs: why there is this answer

int64_t read_number(char **from, const char *end) {
    int64_t number = 0;
    char *at = *from;
    while (at < end && *at >= '0' && *at <= '9') number = number * 10 + (*at++ - '0');
    *from = at + 1;   // behind the space
    return number;
}

bool read_policy(policy_t *policy) {
    size_t size = 0;
    policy->text = NULL;
    if (proxy_get_property(policy_path, sizeof policy_path - 1, &policy->text, &size) != OK) return false;
    char *at = policy->text;
    const char *end = at + size;
    policy->window = read_number(&at, end);
    policy->break_time = read_number(&at, end);
    policy->slow_time = read_number(&at, end);
    policy->slow_requests = read_number(&at, end);
    policy->average_time = read_number(&at, end);
    policy->error_percent = read_number(&at, end);
    policy->gateway_error_percent = read_number(&at, end);
    policy->least_requests = read_number(&at, end);
    policy->circuit = at;
    policy->circuit_size = end - at;
    policy->opening = at - 1;   // with the space in front: another name, without a copy
    policy->opening_size = policy->circuit_size + 1;
    if (at < end) return true;
    release_policy(policy);   // too short: not written by Fairlead
    return false;
}

void release_policy(policy_t *policy) { free(policy->text); }

bool watches_errors(const policy_t *policy) { return policy->error_percent || policy->gateway_error_percent; }

// --- Answers ----------------------------------------------------------------------------------------------------------

typedef struct {
    const char *name, *value;
    uint32_t name_size, value_size;
} header_t;

static const char *find(const char *from, const char *end, char wanted) {
    while (from < end && *from != wanted) from++;
    return from;
}

static header_t header_of(const char *line, const char *end) {
    const char *colon = find(line, end, ':');
    const char *value = colon + 2;   // there is a space
    return (header_t){line, value, colon - line, end - value};
}

static char *write(char *to, const void *from, size_t size) {
    __builtin_memcpy(to, from, size);
    return to + size;
}

// Write headers, one a line up to an empty one, as the host wants them; returns what is behind them.
static const char *convert_headers(const char *lines, const char *end, char *to, size_t *size) {
    const char *line, *stop;
    uint32_t number = 0;
    for (line = lines; (stop = find(line, end, '\n')) > line; line = stop + 1) number++;
    const char *body = stop < end ? stop + 1 : end;
    char *sizes = write(to, &number, sizeof number);
    char *texts = sizes + number * 2 * sizeof(uint32_t);
    for (line = lines; (stop = find(line, end, '\n')) > line; line = stop + 1) {
        header_t header = header_of(line, stop);
        sizes = write(sizes, &header.name_size, sizeof header.name_size);
        sizes = write(sizes, &header.value_size, sizeof header.value_size);
        texts = write(write(texts, header.name, header.name_size), "", 1);
        texts = write(write(texts, header.value, header.value_size), "", 1);
    }
    *size = texts - to;
    return body;
}

void answer(void) {
    char *text = NULL;
    size_t size = 0;
    proxy_get_property(answer_path, sizeof answer_path - 1, &text, &size);
    char *at = text;
    const char *end = text + size;
    int64_t status = read_number(&at, end);
    // Nothing becomes more than four times as long: the shortest line, `a: ` and its end, becomes two sizes, `a` and
    // two NUL.
    size_t headers_size = 0;
    char *headers = malloc(sizeof(uint32_t) + size * 4);
    const char *body = convert_headers(at, end, headers, &headers_size);
    proxy_send_local_response(status, details, sizeof details - 1, body, end - body, headers, headers_size,
                              NO_GRPC_STATUS);
    free(headers);
    free(text);
}
