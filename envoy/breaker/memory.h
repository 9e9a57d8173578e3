// The heap: of ours, and of what the host returns.

#pragma once

#include <stddef.h>

void *malloc(size_t size);
void free(void *block);
