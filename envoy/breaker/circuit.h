// Circuits: what was counted of the last requests, and whether requests pass. All workers of the proxy see the same.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "policy.h"

typedef struct {
    int64_t began;
    int64_t ended;
    int status;     // 0: the client gave up before there was one
} request_t;

int64_t now(void);

// Whether requests that come at this time do not pass: those of some circuit, those of this one.
bool is_any_open(int64_t at);
bool is_open(const policy_t *policy, int64_t at);

// Count a request that has passed; true when it has opened the circuit.
bool count(const policy_t *policy, request_t request);
