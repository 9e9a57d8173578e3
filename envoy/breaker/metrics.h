// Counters of Envoy, for each object: `wasmcustom.fairlead.breaker.<namespace>/<name>/<number>.opened` and `.rejected`.

#pragma once

#include "policy.h"

void note_opening(const policy_t *policy);
void note_rejection(const policy_t *policy);
