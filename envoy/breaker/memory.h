// The heap: of ours, and of what the host returns.

#pragma once

#include <stdbool.h>
#include <stddef.h>

void *malloc(size_t size);
void free(void *block);

bool is_same(const char *one, size_t one_size, const char *other, size_t other_size);
