// What a route says of its breaker, in its metadata.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Times are in nanoseconds. A threshold of 0 is none.
typedef struct {
    int64_t window;
    int64_t break_time;             // for which the circuit stays open
    int64_t slow_time;              // a response that takes longer is slow
    int64_t slow_requests;          // so many of them open it
    int64_t average_time;           // responses that take longer on average open it
    int64_t error_percent;          // this share of 5xx opens it
    int64_t gateway_error_percent;  // this share of 502, 503, 504 opens it
    int64_t least_requests;         // without so many, averages and shares say nothing
    const char *circuit;            // name of the circuit, for what is counted; routes with the same name share it
    size_t circuit_size;
    const char *opening;            // the same for until when it is open
    size_t opening_size;
    char *text;                     // where the names are; for `release_policy`
} policy_t;

// Read the policy of the request's route; false when there is none.
bool read_policy(policy_t *policy);
void release_policy(policy_t *policy);

// A number, and the character behind it.
int64_t read_number(char **from, const char *end);

bool watches_errors(const policy_t *policy);

// Answer the request as the route says.
void answer(void);
