// A heap of blocks whose sizes are powers of two, with a list of free blocks for each size. Blocks are never joined:
// those that are needed come and go with requests, in a few sizes.

#include "memory.h"

#include <stdint.h>

#include "host.h"

enum { PAGE = 65536, LISTS = 28, SMALLEST = 4 };

typedef struct block {
    size_t list;            // kept while the block is in use: the size is 2 to the power of it
    struct block *next;     // while it is free
} block_t;

enum { HEAD = 8 };          // of a block in use; what follows is aligned for all types

extern char __heap_base;    // where the linker's own data end
static char *unused = &__heap_base;
static block_t *free_blocks[LISTS];

static block_t *take(size_t size) {
    block_t *taken = (block_t *)unused;
    size_t end = (size_t)unused + size;
    size_t there = __builtin_wasm_memory_size(0) * PAGE;
    // When there is no more, the module ends here: the host lets requests pass without it.
    if (end > there && __builtin_wasm_memory_grow(0, (end - there + PAGE - 1) / PAGE) == SIZE_MAX) __builtin_trap();
    unused += size;
    return taken;
}

EXPORT void *malloc(size_t size) {
    size_t list = SMALLEST;
    while (((size_t)1 << list) < size + HEAD) list++;
    if (list >= LISTS) __builtin_trap();
    block_t *block = free_blocks[list];
    if (block) {
        free_blocks[list] = block->next;
    } else {
        block = take((size_t)1 << list);
        block->list = list;
    }
    return (char *)block + HEAD;
}

void free(void *memory) {
    if (!memory) return;
    block_t *block = (block_t *)((char *)memory - HEAD);
    block->next = free_blocks[block->list];
    free_blocks[block->list] = block;
}

bool is_same(const char *one, size_t one_size, const char *other, size_t other_size) {
    if (one_size != other_size) return false;
    while (one_size && one[one_size - 1] == other[one_size - 1]) one_size--;
    return one_size == 0;
}
